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

# ---- a link that loses, duplicates and reorders 1 % each ----
counter() { # NAME: as the driver told it
	sed -n "s/^$1 //p" "$tmp"/*.out
}

# MEGABYTES: verified traffic over the link, then the counters. Leaves the driver's status.
traffic() {
	on_b "$VERIFIED_TRAFFIC" mlx5_0 3 7471 "$1" >"$tmp/server.out" 2>&1 &
	server=$!
	# shellcheck disable=SC2016
	on_a sh -c '"$@"; status=$?; sleep 0.3
		for name in packet_seq_err local_ack_timeout_err implied_nak_seq_err rx_icrc_encapsulated; do
			echo $name "$(head -n 1 /sys/class/infiniband/mlx5_0/ports/1/hw_counters/$name)"
		done
		exit $status' sh "$VERIFIED_TRAFFIC" mlx5_0 3 7471 "$1" 198.18.1.2 >"$tmp/driver.out" 2>&1
	status=$?
	wait $server
	server=$?
}

link_up() { # LOSS DUPLICATE REORDER, of 10,000
	mkfifo "$tmp/link"
	"$LOSSY_LINK" $A $B lossy0 1500 "$1" "$2" "$3" 7 <"$tmp/link" >"$tmp/link.said" 2>&1 &
	link=$!
	exec 5>"$tmp/link"
	tries=0
	until grep -q ready "$tmp/link.said" || [ $tries -eq 100 ]; do
		tries=$((tries + 1))
		sleep 0.05
	done
	side=1
	for ns in $A $B; do
		ip -n $ns link set veth0 down
		ip -n $ns address add 198.18.1.$side/24 dev lossy0
		ip -n $ns link set lossy0 up
		side=$((side + 1))
	done
}

link_down() {
	exec 5>&-
	wait $link
	rm -f "$tmp/link"
}

if [ -n "${LOSSY_LINK-}" ] && [ -w /dev/net/tun ]; then
	megabytes=20
	[ -n "${KVR_SHORT-}" ] && megabytes=5
	link_up 100 100 100
	traffic $megabytes
	[ $status -eq 0 ] && [ $server -eq 0 ]
	result_keep=$?
	lost=$(sed -n 's/.* \([0-9]*\) lost.*/\1/p' "$tmp/link.said")
	sent_again=$(($(counter packet_seq_err) + $(counter implied_nak_seq_err) + $(counter local_ack_timeout_err)))
	damaged=$(counter rx_icrc_encapsulated)
	result "$megabytes MB arrive whole over a link that loses, duplicates and reorders" $result_keep
	[ $sent_again -gt 0 ] && [ "$damaged" -eq 0 ]
	result "and the counters tell how often it was sent again" $?
	link_down

	link_up 0 0 0
	if command -v tcpdump >/dev/null && command -v tshark >/dev/null; then
		ip netns exec $B tcpdump -Z root -U -i lossy0 -w "$tmp/pcap" udp port 4791 2>"$tmp/tcpdump.said" &
		tcpdump=$!
		tries=0
		until grep -q listening "$tmp/tcpdump.said" || [ $tries -eq 100 ]; do
			tries=$((tries + 1))
			sleep 0.05
		done
		traffic 1
		IP_B=198.18.1.2
		pair ib_atomic_bw -F -d mlx5_0 -n 20
		pair ibv_ud_pingpong -g 3 -n 20
		pair ibv_uc_pingpong -g 3 -n 20
		sleep 0.3
		kill $tcpdump
		wait $tcpdump
		tshark -r "$tmp/pcap" -q -z expert >"$tmp/tshark.out" 2>/dev/null
		! grep -qE 'Errors|Warns|Malformed' "$tmp/tshark.out" &&
			[ "$(tshark -r "$tmp/pcap" -Y '!infiniband' 2>/dev/null | wc -l)" -eq 0 ] &&
			[ "$(tshark -r "$tmp/pcap" -Y infiniband 2>/dev/null | wc -l)" -gt 1000 ]
		result "tshark takes our packets for InfiniBand, without a complaint" $?
		"$(dirname "$0")/roce_icrc.py" "$tmp/pcap" >"$tmp/icrc.out"
		result "zlib agrees with every ICRC" $?
	else
		skip "tshark" "tcpdump or tshark is not installed"
	fi
	(sleep 2 && ip -n $B link set lossy0 down) &
	traffic 100000
	ms=$(sed -n 's/^transport retry counter exceeded after \([0-9]*\) ms/\1/p' "$tmp/driver.out")
	[ $status -eq 3 ] && [ -n "$ms" ] && [ "$ms" -ge 500 ] && [ "$ms" -le 5000 ]
	result "a dead link exceeds the retries in the QP's time" $?
	link_down
else
	skip "a lossy link" "no /dev/net/tun"
fi

finish
