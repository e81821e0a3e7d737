#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The roce wire, between network namespaces of this test's own. SOFTNIC names the launcher; the
# arguments are test programs to run over it within one namespace.
set -u

SOFTNIC=${SOFTNIC:-softnic}
LIMIT=${LIMIT:-60} # seconds for each case
INSTANCE=roce-$$
A=softnic-$$-a B=softnic-$$-b
IP_A=198.18.0.1 IP_B=198.18.0.2 # RFC 2544
passed=0 failed=0 skipped=0
tmp=$(mktemp -d) || exit 1

clean() {
	ip netns del $A 2>/dev/null
	ip netns del $B 2>/dev/null
	rm -rf "$tmp"
}
trap clean EXIT

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}

result() { # NAME STATUS
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok   $1"
	else
		failed=$((failed + 1))
		echo "FAIL $1 (status $2)"
		for file in "$tmp"/*.out; do
			sed "s|^|  $(basename "$file" .out): |" "$file" | tail -n 8
		done
	fi
	rm -f "$tmp"/*.out
}

skip() { # NAME WHY
	skipped=$((skipped + 1))
	echo "skip $1 ($2)"
}

if ! { ip netns add $A && ip netns add $B &&
	ip link add veth0 netns $A mtu 4200 type veth peer name veth0 netns $B mtu 4200; } 2>"$tmp/why"; then
	skip "everything" "no network namespaces: $(head -n 1 "$tmp/why")"
	finish
fi
for ns in $A $B; do
	ip -n $ns link set lo up
	ip -n $ns link set veth0 up
done
ip -n $A address add $IP_A/24 dev veth0
ip -n $B address add $IP_B/24 dev veth0

on_a() {
	ip netns exec $A "$SOFTNIC" --instance $INSTANCE-a --wire roce --devices 1 -- timeout "$LIMIT" "$@"
}

on_b() {
	ip netns exec $B "$SOFTNIC" --instance $INSTANCE-b --wire roce --devices 1 -- timeout "$LIMIT" "$@"
}

listening() { # NAMESPACE PORT
	ip netns exec "$1" cat /proc/net/tcp /proc/net/tcp6 | grep -q ":$(printf %04X "$2") [0-9A-F:]* 0A"
}

port=18515
# The server in B, the client in A.
pair() {
	name=$*
	command -v "$1" >/dev/null || { skip "$name" "not installed"; return; }
	port=$((port + 1))
	on_b "$@" -p $port >"$tmp/server.out" 2>&1 &
	server=$!
	tries=0
	until listening $B $port || [ $tries -eq 100 ]; do
		tries=$((tries + 1))
		sleep 0.05
	done
	on_a "$@" -p $port $IP_B >"$tmp/client.out" 2>&1
	status=$?
	[ $status -ne 0 ] && kill $server 2>/dev/null
	wait $server || [ $status -ne 0 ] || status=1
	result "$name" $status
}

refuses() { # NAME WORD ARGUMENT...: exits 125 with one line that has the word
	name=$1 word=$2
	shift 2
	ip netns exec $A "$SOFTNIC" --instance $INSTANCE-a --wire roce "$@" -- true 2>"$tmp/launcher.out"
	[ $? -eq 125 ] && [ "$(wc -l <"$tmp/launcher.out")" -eq 1 ] && grep -q -- "$word" "$tmp/launcher.out"
	result "$name" $?
}

# ---- addresses ----
refuses "more devices than addresses are refused" "--devices 2" --devices 3
refuses "an address of another machine is refused" "ip=$IP_B" --devices 1 --device mlx5_0:ip=$IP_B
ip -n $A link set veth0 mtu 1500
refuses "an MTU that the interface has no room for is refused" "mtu=1024" --devices 1 --device mlx5_0:mtu=2048
ip -n $A link set veth0 mtu 4200
on_a ibv_devinfo -v >"$tmp/client.out" 2>&1
grep -q "::ffff:$IP_A, RoCE v2" "$tmp/client.out"
result "a device shows its address as a GID" $?

# ---- one namespace, where the devices are neighbours ----
for program; do
	ip netns exec $A "$SOFTNIC" --instance $INSTANCE-u --wire roce --devices 2 \
		--device mlx5_0:ip=127.0.0.1 --device mlx5_1:ip=127.0.0.2 -- \
		env SOFTNIC_INSTANCE=$INSTANCE-u "$program" >"$tmp/program.out" 2>&1
	status=$?
	sed -n '/^ok/p' "$tmp/program.out"
	passed=$((passed + $(grep -c '^ok' "$tmp/program.out")))
	result "$(basename "$program") over roce" $status
done

# ---- two namespaces ----
pair ibv_rc_pingpong -g 3
pair ibv_rc_pingpong -g 3 -e -m 4096 -s 100000
pair ibv_uc_pingpong -g 3
pair ibv_srq_pingpong -g 3
pair ibv_ud_pingpong -g 3
pair ib_write_bw -F -d mlx5_0 -a -n 50
pair ib_write_bw -F -d mlx5_0 -s 65536 -n 500 -b -q 8
pair ib_write_bw -F -d mlx5_0 -s 8192 -n 500 -c UC
pair ib_read_bw -F -d mlx5_0 -a -n 50
pair ib_read_bw -F -d mlx5_0 -s 65536 -n 500 -q 4 -m 1024
pair ib_send_bw -F -d mlx5_0 -a -n 50
pair ib_send_bw -F -d mlx5_0 -s 4096 -n 1000 -e -r 64 --use-srq
pair ib_send_bw -F -d mlx5_0 -s 4096 -n 1000 -c UD
pair ib_atomic_bw -F -d mlx5_0 -n 500
pair ib_atomic_bw -F -d mlx5_0 -n 500 -A CMP_AND_SWAP
pair ib_write_lat -F -d mlx5_0 -s 64 -n 500
pair ib_read_lat -F -d mlx5_0 -s 64 -n 500

finish
