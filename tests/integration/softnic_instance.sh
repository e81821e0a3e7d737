#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# softnic's launcher: exit codes, joining, and what kill -9 leaves behind. SOFTNIC names it.
set -u

SOFTNIC=${SOFTNIC:-softnic}
INSTANCE=instance-$$
DIR=/dev/shm/softnic-$(id -u)-$INSTANCE
ROUNDS=${ROUNDS:-20}
passed=0 failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

softnic() {
	"$SOFTNIC" --instance "$INSTANCE" "$@"
}

check() { # NAME CONDITION...
	name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		echo "ok   $name"
	else
		failed=$((failed + 1))
		echo "FAIL $name"
	fi
}

exits_with() { # STATUS COMMAND...
	want=$1
	shift
	"$@" >"$tmp/out" 2>"$tmp/err"
	got=$?
	[ "$got" -eq "$want" ] && return
	echo "  status $got, not $want: $*"
	return 1
}

one_line_naming() { # WORD
	[ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q -- "$1" "$tmp/err" && return
	echo "  not one line naming $1:"
	sed 's/^/  /' "$tmp/err"
	return 1
}

gone() {
	[ ! -e "$DIR" ]
}

wait_for() { # COMMAND...: up to 5 s
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.05
	done
}

n_processes() {
	softnic_list | grep -c '^  process'
}

softnic_list() {
	"$SOFTNIC" list --instance "$INSTANCE"
}

children_of() { # PID
	# shellcheck disable=SC2046
	echo $(cat "/proc/$1/task/$1/children" 2>/dev/null)
}

# ---- exit codes ----
check "the command's status is passed on" exits_with 7 softnic -- sh -c 'exit 7'
check "a signal becomes 128 + its number" exits_with 137 softnic -- sh -c 'kill -9 $$'
check "no command is 125" exits_with 125 softnic
check "an unknown command is 127" exits_with 127 softnic -- no-such-command-here
check "and says which" one_line_naming no-such-command-here
check "a value of two lines is refused" exits_with 125 softnic --trace-file "$(printf 'a\nb')" -- true
check "in one line that names the option" one_line_naming --trace-file
check "0 devices are refused" exits_with 125 softnic --devices 0 -- true
check "and the line names the option" one_line_naming --devices
check "9 devices are refused" exits_with 125 softnic --devices 9 -- true
check "an unknown option is refused" exits_with 125 softnic --frobnicate -- true
check "and the line names it" one_line_naming --frobnicate
check "a missing value is refused" exits_with 125 softnic --devices
check "and the line names the option" one_line_naming --devices
check "no number is refused" exits_with 125 softnic --devices x -- true
check "a bad instance name is refused" exits_with 125 "$SOFTNIC" --instance a/b -- true
check "and the line names it" one_line_naming a/b
check "a missing library is refused" exits_with 125 env SOFTNIC_LIB=/nonexistent "$SOFTNIC" -- true
check "--help is 0" exits_with 0 softnic --help
check "--version is 0" exits_with 0 softnic --version
check "arguments are passed as they are" exits_with 0 softnic -- sh -c '[ "$1" = "a b" ]' sh "a b"
mkdir "$tmp/a b:c" && ln -s "$(dirname "$(realpath "$SOFTNIC")")/libsoftnic.so" "$tmp/a b:c/libsoftnic.so"
check "a library in a path with a space and a colon is preloaded" exits_with 0 \
	env SOFTNIC_LIB="$tmp/a b:c/libsoftnic.so" "$SOFTNIC" --instance "$INSTANCE" -- sh -c \
	'ibv_devices | grep -q mlx5_1'
check "nothing is left" gone

# ---- relaxed ordering ----
check "no number for --relaxed is refused" exits_with 125 softnic --relaxed x -- true
check "and the line names the option" one_line_naming --relaxed
check "no time for --ro-window-us is refused" exits_with 125 softnic --ro-window-us 0 -- true
check "a launch inside a launch inherits, and may differ" exits_with 0 softnic --relaxed 5 --seed 7 -- \
	"$SOFTNIC" --relaxed 4 --debug -- sh -c 'ibv_devinfo 2>&1 | grep -q "one WRITE in 4 .* seed 7"'
check "--debug names the seed" exits_with 0 softnic --relaxed 5 --seed 7 --debug -- sh -c \
	'ibv_devinfo 2>&1 | grep -q "one WRITE in 5 .* seed 7"'

# ---- devices ----
count_devices() {
	[ "$(softnic --devices "$1" -- ibv_devices | grep -c mlx5_)" -eq "$1" ]
}
check "one device" count_devices 1
check "eight devices" count_devices 8
check "sysfs looks like a ConnectX-7" exits_with 0 softnic -- sh -c '
	d=/sys/class/infiniband/mlx5_1/device &&
	head -n 1 $d/vendor | grep -qx 0x15b3 && head -n 1 $d/device | grep -qx 0x1021 &&
	[ "$(head -n 1 $d/numa_node)" = 0 ] &&
	head -n 1 /sys/class/infiniband/mlx5_1/ports/1/state | grep -q ACTIVE'
check "the PCI address resolves" exits_with 0 softnic -- sh -c '
	readlink -f /sys/bus/pci/devices/5150:01:00.0 | grep -q /5150:01:00.0 &&
	readlink -f /sys/class/infiniband/mlx5_0/device | grep -q /5150:01:00.0'

# ---- device properties ----
refused_naming() { # OPTION WORD
	exits_with 125 softnic --devices 2 --device "$1" -- true && one_line_naming "$2"
}
check "a device property shows in sysfs and in verbs" exits_with 0 softnic \
	--device mlx5_1:numa=3,mtu=1024,speed=100 --device mlx5_1:ip=10.1.2.3,guid=0c42:a103:0088:0005 -- sh -c '
	d=/sys/class/infiniband/mlx5_1 &&
	[ "$(cat $d/device/numa_node)" = 3 ] && [ "$(cat $d/node_guid)" = 0c42:a103:0088:0005 ] &&
	grep -q "^100 Gb" $d/ports/1/rate && grep -q "ffff:0a01:0203$" $d/ports/1/gids/3 &&
	grep -q "fe80:.*:0e42:a1ff:fe88:0005$" $d/ports/1/gids/1 &&
	ibv_devinfo -v -d mlx5_1 >$0 && grep -q "active_mtu:.*1024" $0 &&
	grep -q "GID\[  3\]:.*10\.1\.2\.3" $0' "$tmp/devinfo"
check "a property without a meaning is refused" refused_naming mlx5_0:colour=red "these are: numa"
check "an MTU of 1500 is refused" refused_naming mlx5_0:mtu=1500 "mtu=1500: give 256"
check "InfiniBand as link layer is refused" refused_naming mlx5_0:link=ib "give eth"
check "a device that is not there is refused" refused_naming mlx5_5:numa=1 "devices is 2"
check "two devices with one address are refused" refused_naming mlx5_0:ip=192.0.2.2 "the same ip"

check "ro=off shows in the configuration space" exits_with 0 softnic --device mlx5_1:ro=off -- sh -c '
	dev_ctl() { # DEVICE: bit 4 is relaxed ordering
		od -An -tx2 -j 104 -N 2 /sys/class/infiniband/mlx5_$1/device/config
	}
	[ $(dev_ctl 0) = 593f ] && [ $(dev_ctl 1) = 592f ]'
check "every GID has a type and an interface" exits_with 0 softnic -- sh -c '
	cd /sys/class/infiniband/mlx5_1/ports/1 &&
	[ "$(cat gid_attrs/types/3)" = "RoCE v2" ] && [ "$(cat gid_attrs/ndevs/3)" = sn1 ] &&
	[ "$(cat ../../device/net/sn1/address)" = 0c:42:a1:77:00:02 ]'
check "hw_counters are those of mlx5" exits_with 0 softnic -- sh -c '
	[ "$(ls /sys/class/infiniband/mlx5_0/ports/1/hw_counters | wc -l)" -eq 29 ]'
if command -v lspci >/dev/null; then
	check "lspci sees the devices, and the machine's own" exits_with 0 softnic -- sh -c '
		[ "$(lspci -n -d 15b3:1021 | grep -c "^5150:")" -eq 2 ] &&
		[ "$(lspci | grep -vc "^5150:")" -eq "$0" ]' "$(lspci | wc -l)"
fi
if command -v ibstat >/dev/null; then
	check "ibstat sees an active port" exits_with 0 softnic -- sh -c '
		ibstat mlx5_1 | grep -q "State: Active" && ibstat mlx5_1 | grep -q "Link layer: Ethernet"'
fi

# ---- joining ----
# In the background the launcher is called itself, so that $! is its number.
"$SOFTNIC" --instance "$INSTANCE" --devices 3 -- sleep 60 >/dev/null 2>&1 &
holder=$!
wait_for [ -e "$DIR/state" ]
check "others join with the same number" exits_with 0 softnic --devices 3 -- true
check "another number is 125" exits_with 125 softnic --devices 2 -- true
check "and the line names the running number" one_line_naming "running with --devices 3"
check "another property is 125" exits_with 125 softnic --devices 3 --device mlx5_2:numa=1 -- true
check "and the line names the property" one_line_naming "with no --device, not with --device mlx5_2:numa=1"
check "another instance is free" exits_with 0 "$SOFTNIC" --instance "$INSTANCE-b" --devices 1 -- true
check "a launch inside a launch joins" exits_with 0 softnic --devices 3 -- "$SOFTNIC" -- sh -c \
	"[ \$(ibv_devices | grep -c mlx5_) -eq 3 ]"
check "list shows the holder" [ "$(n_processes)" -eq 1 ]
check "list --json is JSON" sh -c \
	"\"$SOFTNIC\" list --json --instance $INSTANCE | python3 -c 'import json, sys; json.load(sys.stdin)[0][\"devices\"][2]'"
kill -TERM $holder
wait $holder
check "TERM reaches the command" [ $? -eq 143 ]
check "nothing is left after it" gone

# ---- kill -9 ----
"$SOFTNIC" --instance "$INSTANCE" -- sleep 60 >/dev/null 2>&1 &
launcher=$!
wait_for [ -e "$DIR/state" ]
sleep 0.2
child=$(children_of "$launcher")
kill -9 $launcher
wait $launcher 2>/dev/null
check "a killed launcher is noticed by the next launch" exits_with 0 softnic --devices 5 -- true
# shellcheck disable=SC2086
kill -9 $child
check "which leaves nothing" gone

"$SOFTNIC" --instance "$INSTANCE" -- sh -c 'ibv_rc_pingpong -g 3 & sleep 60' >/dev/null 2>&1 &
launcher=$!
wait_for sh -c "\"$SOFTNIC\" list --instance $INSTANCE | grep -q '  qp '"
child=$(children_of "$launcher")
grandchildren=$(children_of "$child")
kill -9 $launcher
wait $launcher 2>/dev/null
check "the device's user keeps the instance" [ "$(n_processes)" -eq 1 ]
# shellcheck disable=SC2086
kill -9 $child $grandchildren
check "list finds nobody left" wait_for sh -c "[ -z \"\$(\"$SOFTNIC\" list --instance $INSTANCE)\" ]"
check "and removes what was left" gone

killed_anywhere() {
	round=0
	while [ $round -lt "$ROUNDS" ]; do
		"$SOFTNIC" --instance "$INSTANCE" -- ibv_rc_pingpong -g 3 -p $((31000 + round)) >/dev/null 2>&1 &
		launcher=$!
		sleep "0.0$(((round * 37) % 90 + 10))"
		child=$(children_of "$launcher")
		kill -9 $launcher
		# shellcheck disable=SC2086
		[ -n "$child" ] && kill -9 $child 2>/dev/null
		wait $launcher 2>/dev/null
		[ "$(timeout 20 "$SOFTNIC" --instance "$INSTANCE" -- ibv_devices | grep -c mlx5_)" -eq 2 ] ||
			return 1
		round=$((round + 1))
	done
}
check "killed at $ROUNDS points, it always starts again" killed_anywhere
check "and nothing is left in the end" wait_for sh -c \
	"\"$SOFTNIC\" list --instance $INSTANCE >/dev/null; [ ! -e $DIR ]"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
