#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs that connect through rdma_cm, and what they see when the other end is not there, is there
# already, or is killed. SOFTNIC names softnic.
set -u

SOFTNIC=$(realpath "${SOFTNIC:-$(command -v softnic)}")
INSTANCE=cm-$$
passed=0 failed=0 skipped=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1 # what a killed program drops stays here

softnic() {
	"$SOFTNIC" --instance "$INSTANCE" "$@"
}

report() { # STATUS NAME
	if [ "$1" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok   $2"
	else
		failed=$((failed + 1))
		echo "FAIL $2"
		sed 's/^/  server: /' server | tail -n 12
		sed 's/^/  client: /' client | tail -n 12
	fi
}

missing() { # PROGRAM NAME
	command -v "$1" >/dev/null && return 1
	skipped=$((skipped + 1))
	echo "SKIP $2: no $1 here"
}

wait_for() { # COMMAND...: up to 10 s
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" && return
		sleep 0.05
	done
	return 1
}

# The launcher has one child: the program itself.
program_of() { # LAUNCHER
	cat "/proc/$1/task/$1/children" 2>/dev/null
}

# ---- pairs of programs ----

# True when the instance has a port that somebody listens at; fi_pingpong asks by a socket first.
listening() {
	softnic_list | grep -q "^  listener" || [ -n "$(ss -Hltn 'sport = 47592')" ]
}

softnic_list() {
	"$SOFTNIC" list --instance "$INSTANCE"
}

# 0 if both end well.
run_pair() { # SERVER CLIENT
	local server status
	# shellcheck disable=SC2086
	timeout 60 "$SOFTNIC" --instance "$INSTANCE" -- $1 >server 2>&1 &
	server=$!
	wait_for listening
	# shellcheck disable=SC2086
	timeout 60 "$SOFTNIC" --instance "$INSTANCE" -- $2 >client 2>&1
	status=$?
	[ $status -eq 0 ] || kill $server 2>/dev/null
	wait $server || status=1
	return $status
}

pair() { # NAME SERVER CLIENT
	missing "${2%% *}" "$1" && return
	run_pair "$2" "$3"
	local status=$?
	# perftest listens twice, with a gap in which its client may be refused, and rping closes its
	# channel while its other thread is about to read it: as on hardware.
	if [ $status -ne 0 ] && [[ $2 == ib_* || $2 == rping* ]]; then
		run_pair "$2" "$3"
		status=$?
	fi
	report $status "$1"
}

pair "rping, an address of this machine" "rping -s -C 5 -V" "rping -c -a 127.0.0.1 -C 5 -V"
pair "rping, IPv6" "rping -s -a :: -C 5 -V" "rping -c -a ::1 -C 5 -V"
pair "rping, the second device's address" "rping -s -a 192.0.2.2 -C 5 -V" "rping -c -a 192.0.2.2 -C 5 -V"
pair "ucmatose, 100 connections" "ucmatose -c 100" "ucmatose -c 100 -s 192.0.2.1"
pair "ucmatose, ids that change channels" "ucmatose -m" "ucmatose -m -s 192.0.2.1"
pair "udaddy" "udaddy" "udaddy -s 192.0.2.1"
pair "rdma_client" rdma_server "rdma_client -s 192.0.2.1"
pair "rdma_xclient" rdma_xserver "rdma_xclient -s 192.0.2.1"
pair "rstream" "rstream -S 65536 -T v" "rstream -S 65536 -T v -s 192.0.2.1"
pair "rstream, not blocking" "rstream -S 4096 -T n" "rstream -S 4096 -T n -s 192.0.2.1"
pair "riostream" "riostream -S 65536 -T v" "riostream -S 65536 -T v -s 192.0.2.1"
pair "ib_write_bw -R" "ib_write_bw -R -n 500" "ib_write_bw -R -n 500 192.0.2.1"
pair "ib_send_bw -R, 16 QPs, events" "ib_send_bw -R -q 16 -e -n 500" "ib_send_bw -R -q 16 -e -n 500 192.0.2.1"
pair "ib_send_lat -R, UD" "ib_send_lat -R -c UD -n 500" "ib_send_lat -R -c UD -n 500 192.0.2.1"
pair "ib_read_bw -R, the second device" "ib_read_bw -R -d mlx5_1 -n 500" "ib_read_bw -R -d mlx5_1 -n 500 192.0.2.2"
pair "fi_pingpong, verbs msg" "fi_pingpong -p verbs -e msg -c" "fi_pingpong -p verbs -e msg -c 127.0.0.1"
pair "fi_pingpong, verbs rdm" "fi_pingpong -p verbs;ofi_rxm -e rdm -c" "fi_pingpong -p verbs;ofi_rxm -e rdm -c 127.0.0.1"

# ---- nobody there ----

client_says() { # NAME PATTERN COMMAND...
	local name=$1 pattern=$2
	shift 2
	missing "$1" "$name" && return
	: >server
	timeout 20 "$SOFTNIC" --instance "$INSTANCE" -- "$@" >client 2>&1
	[ $? -ne 124 ] && grep -q "$pattern" client
	report $? "$name"
}
client_says "nobody listens: rejected, invalid service" "RDMA_CM_EVENT_REJECTED, error 8" \
	rping -c -a 192.0.2.1 -p 7999
client_says "nobody listens for UD: unreachable" "event: RDMA_CM_EVENT_UNREACHABLE, error: 1" \
	udaddy -s 192.0.2.1
client_says "an address that is not here" "RDMA_CM_EVENT_ADDR_ERROR, error -113" \
	rping -c -a 203.0.113.9
client_says "an address that is not here cannot be listened at" "rdma_bind_addr: Cannot assign" \
	rping -s -a 203.0.113.9
client_says "multicast is refused" "Operation not supported" mckey -m 224.0.0.5 -b 192.0.2.1

# ---- killed ----

start_server() { # COMMAND...
	"$SOFTNIC" --instance "$INSTANCE" -- "$@" >server 2>&1 &
	launcher=$!
	wait_for listening
}

end_server() {
	# shellcheck disable=SC2046
	kill -9 $(program_of $launcher) 2>/dev/null
	wait $launcher 2>/dev/null
}

if ! missing rping "what a kill -9 leaves"; then
	start_server rping -s -P -a 192.0.2.1 -p 7200
	client_says "a port in use in another process" "rdma_bind_addr: Address already in use" \
		rping -s -a 192.0.2.1 -p 7200
	client_says "or by a wildcard" "rdma_bind_addr: Address already in use" rping -s -p 7200
	end_server
	pair "and free after a kill -9" "rping -s -a 192.0.2.1 -p 7200 -C 3" \
		"rping -c -a 192.0.2.1 -p 7200 -C 3"

	start_server rping -s -a 192.0.2.1 -p 7201
	"$SOFTNIC" --instance "$INSTANCE" -- timeout 30 rping -c -a 192.0.2.1 -p 7201 >client 2>&1 &
	client=$!
	sleep 0.5
	end_server
	wait $client
	[ $? -ne 124 ] && grep -q "DISCONNECT EVENT" client
	report $? "the client of a killed server is told: disconnected"

	start_server rping -s -P -a 192.0.2.1 -p 7202
	"$SOFTNIC" --instance "$INSTANCE" -- rping -c -a 192.0.2.1 -p 7202 >client 2>&1 &
	client=$!
	sleep 0.5
	# shellcheck disable=SC2046
	kill -9 $(program_of $client)
	wait $client 2>/dev/null
	wait_for grep -q "DISCONNECT EVENT" server
	report $? "the server of a killed client is told: disconnected"
	softnic -- timeout 20 rping -c -a 192.0.2.1 -p 7202 -C 3 >client 2>&1 ||
		softnic -- timeout 20 rping -c -a 192.0.2.1 -p 7202 -C 3 >client 2>&1
	report $? "and serves the next"
	end_server
fi

# ---- what is left ----
softnic -- sh -c '[ -z "$(ls /dev/shm/softnic-*-'"$INSTANCE"'/cm)" ]' >client 2>&1
report $? "a launch of its own finds no sockets of others"
[ ! -e "/dev/shm/softnic-$(id -u)-$INSTANCE" ]
report $? "nothing is left in the end"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
