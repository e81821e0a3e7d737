#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Where softnic runs: other users, containers, many of everything; and who must stay out. SOFTNIC
# names the launcher.
#
#   softnic_life.sh CROWD     CROWD: the program of softnic_crowd.c
set -u

SOFTNIC=$(realpath "${SOFTNIC:-$(command -v softnic)}")
CROWD=$1
NAME=life-$$
DIR=/dev/shm/softnic-$(id -u)-$NAME
NOBODY=65534
passed=0 failed=0 skipped=0
tmp=$(mktemp -d) || exit 1
chmod 755 "$tmp"
trap 'rm -rf "$tmp"' EXIT

# The build may lie where only its owner can go.
mkdir "$tmp/bin"
cp "$SOFTNIC" "$(dirname "$SOFTNIC")/libsoftnic.so" "$CROWD" "$tmp/bin/"
SOFTNIC=$tmp/bin/softnic
CROWD=$tmp/bin/$(basename "$CROWD")

softnic() {
	"$SOFTNIC" --instance "$NAME" "$@"
}

check() { # NAME CONDITION...
	local name=$1
	shift
	if "$@" >"$tmp/log" 2>&1; then
		passed=$((passed + 1))
		echo "ok   $name"
	else
		failed=$((failed + 1))
		echo "FAIL $name"
		sed 's/^/  /' "$tmp/log" | tail -n 20
	fi
}

skip() { # WHY CHECK...
	skipped=$((skipped + 1))
	echo "skip $2: $1"
}

exits_with() { # STATUS COMMAND...
	local want=$1 got
	shift
	"$@" 2>"$tmp/err"
	got=$?
	cat "$tmp/err"
	[ "$got" -eq "$want" ] || { echo "status $got, not $want: $*"; false; }
}

says() { # PATTERN: the last error was one line like that
	cat "$tmp/err"
	[ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q -- "$1" "$tmp/err"
}

as() { # UID COMMAND...
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}

# Two processes: a server and a client of perftest, whose buffers are private memory.
perftest() { # WRAPPER...
	local port=$((20000 + RANDOM % 20000)) server status
	"$@" "$SOFTNIC" --instance "$NAME" -- ib_write_bw -d mlx5_0 -x 3 -n 200 -p $port >"$tmp/server" 2>&1 &
	server=$!
	sleep 0.5
	timeout 20 "$@" "$SOFTNIC" --instance "$NAME" -- \
		ib_write_bw -d mlx5_1 -x 3 -n 200 -p $port 127.0.0.1 >"$tmp/client" 2>&1
	status=$?
	timeout 20 tail --pid=$server -f /dev/null
	cat "$tmp/server" "$tmp/client"
	return $status
}

# ---- many ----
check "eight devices, each with a QP to each" softnic --devices 8 -- "$CROWD" mesh 8
check "1,000 QPs in one process" softnic -- "$CROWD" qps 1000
check "64 processes in one instance" softnic -- "$CROWD" processes 64
check "two instances at once keep apart" softnic -- "$SOFTNIC" --instance "$NAME-b" --devices 1 -- \
	sh -c '[ "$(ibv_devices | grep -c mlx5_)" = 1 ]'

late='
import ctypes
n = ctypes.c_int()
lib = ctypes.CDLL("libibverbs.so.1")
lib.ibv_get_device_list.restype = ctypes.c_void_p
assert lib.ibv_get_device_list(ctypes.byref(n)) and n.value == 2'

# ---- one process, its children and its libraries ----
check "fork after open: the parent goes on, the child has no device" softnic -- "$CROWD" fork
check "exec after open starts anew" softnic -- "$CROWD" exec
check "libibverbs may be loaded late" softnic -- python3 -c "$late"
[ ! -e "$DIR" ]
check "nothing is left" [ $? -eq 0 ]

# ---- users ----
if [ "$(id -u)" = 0 ]; then
	check "works without root" perftest setpriv --reuid $NOBODY --regid $NOBODY --clear-groups
	check "works for root without CAP_SYS_PTRACE" perftest setpriv --bounding-set -sys_ptrace \
		--inh-caps -sys_ptrace
	softnic -- sleep 30 &
	holder=$!
	until [ -e "$DIR/state" ]; do sleep 0.05; done
	check "the directory is its user's alone" [ "$(stat -c %a "$DIR")" = 700 ]
	check "and so is the state" [ "$(stat -c %a "$DIR/state")" = 600 ]
	check "another user's instance of that name is another" as $NOBODY "$SOFTNIC" \
		--instance "$NAME" --devices 3 -- sh -c '[ "$(ibv_devices | grep -c mlx5_)" = 3 ]'
	check "another user lists nothing of ours" sh -c \
		"[ -z \"\$(setpriv --reuid $NOBODY --regid $NOBODY --clear-groups '$SOFTNIC' list --instance '$NAME')\" ]"
	kill $holder
	wait $holder 2>/dev/null
	# Whoever is first in /dev/shm may take a name; we do not use what is not ours.
	theirs=/dev/shm/softnic-$NOBODY-$NAME
	mkdir -m 777 "$theirs"
	check "a directory that another user made is refused" \
		exits_with 125 as $NOBODY "$SOFTNIC" --instance "$NAME" -- true
	check "and the line says so" says "$theirs.*belongs to"
	rmdir "$theirs"
	ln -s "$tmp" "$theirs"
	check "a symbolic link is refused" exits_with 125 as $NOBODY "$SOFTNIC" --instance "$NAME" -- true
	check "and the line says so" says "$theirs"
	rm "$theirs"
	touch "$theirs"
	check "a file is refused" exits_with 125 as $NOBODY "$SOFTNIC" --instance "$NAME" -- true
	check "and the line says so" says "$theirs"
	rm "$theirs"
	as $NOBODY mkdir -m 777 "$theirs"
	check "a directory that others may write is refused" \
		exits_with 125 as $NOBODY "$SOFTNIC" --instance "$NAME" -- true
	check "and the line says so" says "$theirs"
	rm -rf "$theirs"
else
	skip "needs root" "other users"
fi

# ---- containers ----
# What Docker's default profile does on old kernels, and a kernel with ptrace_scope=2 to all.
check "without process_vm_*: shared memory works" softnic -- "$CROWD" sealed shared
check "and private memory fails with an error" exits_with 3 softnic -- "$CROWD" sealed private
check "that names the remedy" grep -q "CAP_SYS_PTRACE\|--cap-add" "$tmp/err"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
