#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# How near softnic's local wire comes to what this machine can do. Prints a line for each figure: what,
# how fast, and where there is one the limit and the ratio. Run it on a quiet machine, as root (EAL).
#
#   softnic_speed.sh BUILD
#
# Cold: 2 GiB of one process written over 2 GiB of another, through one device, whose one NIC thread
# is to be compared with one CPU that copies past its cache (copy_limit). 4 KiB: ib_write_bw, one QP.
# Null: post_rate, bursts of 64 on one QP.
set -u
[ $# = 1 ] || { echo "usage: softnic_speed.sh BUILD" >&2; exit 2; }
build=$(realpath "$1") || exit 2
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

# EXEC=exec: in place of this shell, so that $! is the launcher's.
under_softnic() { ${EXEC-} "$build/tools/softnic/softnic" --instance "speed-$$" "$@"; }

bench() { # PREFIX ARGUMENT...
	local prefix=$1
	shift
	under_softnic --devices 1 -- "$build/app/kvrail-bench" -l 0,1 --file-prefix "speed-$prefix" \
		--in-memory --single-file-segments --iova-mode=va -- --buffer-size 2G --device-name mlx5_0 "$@"
}

cold() { # BLOCK
	local target address
	EXEC=exec bench target --mode target >"$log/target" 2>&1 &
	target=$!
	for _ in $(seq 300); do
		address=$(sed -n 's/^listening on //p' "$log/target")
		[ -n "$address" ] && break
		sleep 0.1
	done
	bench initiator --mode initiator --segment-id "$address" --operation write \
		--block-size "$1" --batch-size 64 --threads 2 --duration 4 >"$log/initiator" 2>&1
	kill $target
	wait $target
	sed -n 's/^Test completed.*throughput \([0-9.]*\) GB.*/\1/p' "$log/initiator"
}

writes_of_4k() { # OPTION...
	local server port=18514
	under_softnic -- ib_write_bw -d mlx5_0 -p $port -s 4096 -n 500000 -F "$@" \
		>"$log/server" 2>&1 &
	server=$!
	sleep 0.5
	under_softnic -- ib_write_bw -d mlx5_1 -p $port -s 4096 -n 500000 -F "$@" localhost \
		>"$log/client" 2>&1
	wait $server
	awk '$1 == 4096 { print $5 }' "$log/client"
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'; }

for block in 1M 64K; do
	got=$(cold $block)
	limit=$(taskset -c 1 "$build/tests/copy_limit" | cut -d' ' -f1)
	echo "cold writes of $block: ${got:-0} GB/s of $limit, ratio $(ratio "${got:-0}" "$limit")"
done
echo "4 KiB writes, plain memory: $(writes_of_4k) M/s"
echo "4 KiB writes, hugepages: $(writes_of_4k --use_hugepages) M/s"
echo "null wire: $(under_softnic --wire null -- "$build/tests/post_rate") M WQEs/s"
