#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds kvrail four ways, runs every test and fuzzer. The last line is
# `N passed, N failed, N skipped`; the exit status is 0 when none failed.
#
#   test.sh          all lanes: gcc clang asan tsan fuzz
#   test.sh LANE...  some of them
#
# KVR_FUZZ_SECONDS is how long each fuzzer runs (60), KVR_FUZZ_SEED where it begins (1: the same way
# each time; 0: anywhere).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
builds=$root/build-test
passed=0 failed=0 skipped=0

# build LANE MESON_OPTION...: warnings are errors. A build that fails is one failed test.
build() {
	local lane=$1 dir=$builds/$1 log=$builds/$1.log
	shift
	mkdir -p "$builds"
	if { [ -f "$dir/build.ninja" ] || meson setup --werror "$@" "$dir" "$root"; } >"$log" 2>&1 &&
		ninja -C "$dir" -j2 >>"$log" 2>&1; then
		return 0
	fi
	echo "FAIL  $lane   build ($log)"
	grep -A 20 -m 1 -E 'error|ERROR|FAILED' "$log" || tail -n 20 "$log"
	failed=$((failed + 1))
	return 1
}

# run LANE MESON_TEST_ARGUMENT...: the programs count their own tests.
run() {
	local lane=$1 dir=$builds/$1 counts
	shift
	meson test -C "$dir" --no-rebuild --num-processes 2 "$@" >"$builds/$lane-run.log" 2>&1 || true
	if ! python3 "$root/tests/summary.py" "$lane" "$dir/meson-logs/testlog.json" \
		>"$builds/$lane-summary.log"; then
		tail -n 20 "$builds/$lane-run.log"
		failed=$((failed + 1))
		return
	fi
	sed '$d' "$builds/$lane-summary.log"
	read -r -a counts < <(tail -n 1 "$builds/$lane-summary.log")
	passed=$((passed + counts[0]))
	failed=$((failed + counts[1]))
	skipped=$((skipped + counts[2]))
}

lane_gcc() {
	CC=gcc build gcc --buildtype=debugoptimized && run gcc
}

lane_clang() {
	CC=clang build clang --buildtype=debugoptimized -Dfuzz=true && KVR_SHORT=1 run clang --suite unit --suite property
}

# softnic is preloaded, ahead of ASan's own library. Leaks are looked for everywhere.
lane_asan() {
	export ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=1:abort_on_error=0
	export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
	CC=gcc build asan --buildtype=debugoptimized -Db_sanitize=address,undefined &&
		KVR_SHORT=1 run asan --suite unit --suite property --suite integration
}

# DPDK's default ring is right on x86 but not by the rules that TSan knows; its C11 one is.
lane_tsan() {
	export TSAN_OPTIONS="halt_on_error=1 suppressions='$root/tests/tsan.supp'"
	CC=gcc build tsan --buildtype=debugoptimized -Db_sanitize=thread \
		-Dc_args=-DRTE_USE_C11_MEM_MODEL && run tsan --suite threads
}

# fuzz FUZZER: what it finds on the way stays in build-test/fuzz, for the next time.
fuzz() {
	local name=$1 own=$builds/fuzz/$1 seconds=${KVR_FUZZ_SECONDS:-60}
	mkdir -p "$own"
	ASAN_OPTIONS=detect_leaks=1 "$builds/clang/tests/fuzz/${name}_fuzz" -max_total_time="$seconds" \
		-seed="${KVR_FUZZ_SEED:-1}" \
		-max_len=1500 -timeout=20 -close_fd_mask=2 -artifact_prefix="$own-" \
		"$own" "$root/tests/fuzz/corpus/$name" >"$own.log" 2>&1
}

# One input that breaks a rule is one failed test; it is kept beside the log.
lane_fuzz() {
	CC=clang build clang --buildtype=debugoptimized -Dfuzz=true || return 1
	local name names=(softnic_cm softnic_packet softnic_packet_roce softnic_text softnic_uverbs softnic_wqe
		softnic_wqe_roce) log
	for name in "${names[@]}"; do
		[ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n || true
		fuzz "$name" &
	done
	wait
	for name in "${names[@]}"; do
		log=$builds/fuzz/$name.log
		if grep -q '^Done ' "$log" && ! grep -q 'ERROR: ' "$log"; then
			echo "ok    fuzz   $name: $(grep '^Done ' "$log")"
			passed=$((passed + 1))
		else
			echo "FAIL  fuzz   $name ($log)"
			grep -A 20 -m 1 -E 'ERROR|runtime error|not true' "$log" || tail -n 20 "$log"
			failed=$((failed + 1))
		fi
	done
}

bash "$root/tools/setup.sh" --tests
for lane in "${@:-all}"; do
	case $lane in
	all) lanes=(gcc clang asan tsan fuzz) ;;
	gcc | clang | asan | tsan | fuzz) lanes=("$lane") ;;
	*)
		echo "test.sh: unknown lane $lane; there are gcc, clang, asan, tsan and fuzz" >&2
		exit 2
		;;
	esac
	for name in "${lanes[@]}"; do
		begin=$SECONDS
		"lane_$name" || true
		echo "----  $name lane: $((SECONDS - begin)) s"
	done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
