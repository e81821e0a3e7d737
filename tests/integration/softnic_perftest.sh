#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Unmodified RDMA programs on softnic's devices. SOFTNIC names the launcher.
set -u

SOFTNIC=${SOFTNIC:-softnic}
INSTANCE=perftest-$$
LIMIT=${LIMIT:-60} # seconds for each case
passed=0 failed=0 skipped=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

on_softnic() {
	"$SOFTNIC" --instance "$INSTANCE" -- "$@"
}

# A TCP port nobody listens on: the kernel's own choice, just given back.
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

result() { # NAME STATUS
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok   $1"
	else
		failed=$((failed + 1))
		echo "FAIL $1 (status $2)"
		sed 's/^/  client: /' "$tmp/client" | tail -n 5
		sed 's/^/  server: /' "$tmp/server" | tail -n 5
	fi
}

have() { # PROGRAM CASE
	command -v "$1" >/dev/null && return 0
	skipped=$((skipped + 1))
	echo "skip $2 ($1 is not installed)"
	return 1
}

# One program, no peer.
single() {
	name=$*
	have "$1" "$name" || return
	: >"$tmp/server"
	on_softnic timeout "$LIMIT" "$@" >"$tmp/client" 2>&1
	status=$?
	[ $status -eq 0 ] && ! grep -q mlx5_0 "$tmp/client" && status=1
	result "$name" $status
}

# Is somebody listening on this TCP port?
listening() {
	grep -q ":$(printf %04X "$1") [0-9A-F:]* 0A" /proc/net/tcp /proc/net/tcp6
}

# Server and client, two launches that join one instance.
pair() {
	name=$*
	have "$1" "$name" || return
	port=$(free_port)
	on_softnic timeout "$LIMIT" "$@" -p "$port" >"$tmp/server" 2>&1 &
	server=$!
	tries=0
	until listening "$port" || [ $tries -eq 100 ]; do
		tries=$((tries + 1))
		sleep 0.05
	done
	on_softnic timeout "$LIMIT" "$@" -p "$port" 127.0.0.1 >"$tmp/client" 2>&1
	status=$?
	[ $status -ne 0 ] && kill "$server" 2>/dev/null
	wait "$server" || [ $status -ne 0 ] || status=1
	result "$name" $status
}

single ibv_devices
single ibv_devinfo
single ibv_devinfo -v -d mlx5_0

pair ibv_rc_pingpong -g 3
pair ibv_rc_pingpong -g 3 -e
pair ibv_rc_pingpong -g 1 -d mlx5_1 -s 100000 -n 200
pair ibv_uc_pingpong -g 3
pair ibv_uc_pingpong -g 3 -e
pair ibv_srq_pingpong -g 3
pair ibv_srq_pingpong -g 3 -e

for program in ib_write_bw ib_read_bw ib_send_bw; do
	pair $program -F -d mlx5_0 -a -n 100
	pair $program -F -d mlx5_1 -s 65536 -n 1000
	pair $program -F -d mlx5_0 -s 4096 -n 2000 -b
	pair $program -F -d mlx5_0 -s 4096 -n 2000 -q 8
done
pair ib_write_bw -F -d mlx5_0 -c UC -s 4096 -n 2000
pair ib_send_bw -F -d mlx5_0 -s 4096 -n 2000 -e
pair ib_send_bw -F -d mlx5_0 -s 4096 -n 2000 -r 64 --use-srq
for program in ib_write_lat ib_read_lat ib_send_lat; do
	pair $program -F -d mlx5_0 -a -n 50
	pair $program -F -d mlx5_1 -s 64 -n 1000
done
pair ib_atomic_bw -F -d mlx5_0 -n 1000
pair ib_atomic_bw -F -d mlx5_0 -n 1000 -A CMP_AND_SWAP
pair ib_atomic_lat -F -d mlx5_0 -n 1000

if [ -e "/dev/shm/softnic-$(id -u)-$INSTANCE" ]; then
	failed=$((failed + 1))
	echo "FAIL the instance was left behind"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
