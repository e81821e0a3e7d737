#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# From a clone to figures, on Debian 12, as root: installs, builds, moves blocks between two nodes
# on two software NICs, verifies every byte, measures. No RDMA hardware is needed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build

fail() {
	echo "quickstart.sh: $*" >&2
	exit 1
}

# Output of a step that takes long is shown when it fails.
quiet() {
	local log=$build-quickstart.log
	"$@" >"$log" 2>&1 || {
		tail -n 30 "$log" >&2
		fail "failed: $*"
	}
	rm -f "$log"
}

install_and_build() {
	bash "$root/tools/setup.sh"
	[ -f "$build/build.ninja" ] ||
		quiet meson setup --buildtype=release "$build" "$root"
	quiet ninja -C "$build" -j2
}

stop_target() {
	[ -n "${target-}" ] || return 0
	kill -TERM "$target" 2>/dev/null || true
	wait "$target" 2>/dev/null || true
	target=
}

clean_up() {
	stop_target
	rm -rf "$work"
}

# 2 MiB hugepages for both nodes' pools and EAL's own; without them, ordinary pages.
choose_memory() {
	local free
	free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)
	if [ "$free" -ge 700 ]; then
		memory=(--in-memory --single-file-segments)
		buffer=512M
	else
		echo "$free hugepages of 2 MiB are free, 700 are wanted: ordinary pages instead"
		memory=(--no-huge -m 400)
		buffer=128M
	fi
}

# bench PREFIX OPTION...: in EAL's terms every node needs a prefix of its own.
bench() {
	local prefix=$1
	shift
	"$build/app/kvrail-bench" -l 0,1 "${memory[@]}" --iova-mode=va --log-level=lib.eal:error \
		--file-prefix="$prefix$$" -- --buffer-size="$buffer" "$@"
}

start_target() {
	"$build/app/kvrail-bench" -l 0,1 "${memory[@]}" --iova-mode=va --log-level=lib.eal:error \
		--file-prefix="qst$$" -- --mode=target --buffer-size="$buffer" \
		>"$work/target" 2>"$work/target.err" &
	target=$!
	for _ in $(seq 200); do
		address=$(sed -n 's/^listening on //p' "$work/target")
		[ -z "$address" ] || return 0
		kill -0 "$target" 2>/dev/null || break
		sleep 0.1
	done
	cat "$work/target" "$work/target.err" >&2
	fail "the target does not listen"
}

# initiate NAME OPTION...: one run; its result line is left in $result.
initiate() {
	local name=$1
	shift
	bench qsi --mode=initiator --segment-id="$address" --json="$work/json" "$@" \
		>"$work/out" 2>"$work/err" || {
		cat "$work/out" "$work/err" >&2
		fail "$name failed"
	}
	result=$(tail -n 1 "$work/out")
	case $result in
	"Test completed: "*) ;;
	*) fail "$name did not end with a result but with: $result" ;;
	esac
	rate=$(sed 's/.*throughput //' <<<"$result")
}

measure() {
	local copy operation name hot
	work=$(mktemp -d)
	trap clean_up EXIT
	trap 'exit 130' INT TERM
	choose_memory
	start_target
	echo "two nodes, two software NICs, on $(nproc) CPUs"
	for operation in write read; do
		initiate "verified $operation" --operation=$operation --verify --duration=1 \
			--block-size=64K --batch-size=64 --threads=2
		grep -q '^verified: every byte was right$' "$work/out" ||
			fail "the verified $operation has verified nothing"
		printf '  %-24s every byte was right\n' "verified $operation"
	done
	for operation in write read; do
		for hot in "" --hot; do
			name="$operation, $([ -n "$hot" ] && echo "one hot block" || echo "$buffer cold")"
			initiate "$name" --operation=$operation --duration=2 --block-size=1M \
				--batch-size=64 --threads=2 $hot
			printf '  %-24s %s\n' "$name" "$rate"
		done
	done
	stop_target
	copy=$(taskset -c 0 "$build/tests/copy_limit")
	printf '  %-24s %s GB/s cold, %s GB/s hot\n' "memory copies, one CPU" ${copy% *} ${copy#* }
	echo "the software NIC of a node copies with one CPU: what that copies bounds all its devices"
}

case "${1-}" in
"")
	install_and_build
	# The script's second half runs under softnic, so that every node is its own child.
	exec "$build/tools/softnic/softnic" --devices 2 --instance "quickstart$$" -- \
		bash "${BASH_SOURCE[0]}" --measure
	;;
--measure) measure ;;
*) fail "unknown option $1; usage: quickstart.sh" ;;
esac
