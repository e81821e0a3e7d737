#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what kvrail needs on Debian 12, and reserves hugepages. Does nothing that is done already.
#
#   setup.sh           to build and run
#   setup.sh --tests   also what only the tests need
set -euo pipefail

build_packages=(build-essential meson ninja-build pkg-config git ca-certificates
	libdpdk-dev dpdk-dev libibverbs-dev ibverbs-providers ibverbs-utils rdma-core perftest
	libjansson-dev libnuma-dev libbsd-dev libsystemd-dev libcunit1-dev)
test_packages=(clang clang-format clang-tidy libclang-rt-14-dev mandoc valgrind python3
	rdmacm-utils libfabric-bin ucx-utils infiniband-diags pciutils iproute2 tcpdump tshark)

fail() {
	echo "setup.sh: $*" >&2
	exit 1
}

case "${1-}" in
"") packages=("${build_packages[@]}") ;;
--tests) packages=("${build_packages[@]}" "${test_packages[@]}") ;;
*) fail "unknown option $1; usage: setup.sh [--tests]" ;;
esac

# os-release(5) is a shell fragment; a subshell keeps its variables out of here.
os=$(. /etc/os-release 2>/dev/null && echo "${ID-} ${VERSION_ID-}") || os=unknown
[ "$os" = "debian 12" ] || fail "made for Debian 12, this is: $os"
[ "$(id -u)" = 0 ] || fail "must run as root: it installs packages and reserves hugepages"

missing=()
for package in "${packages[@]}"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
	[ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	echo "installing ${missing[*]}"
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get -q update && apt-get -qy install --no-install-recommends "${missing[@]}"; } \
		>"$log" 2>&1; then
		tail -n 20 "$log" >&2
		fail "apt-get failed; all of its output: $log"
	fi
	rm -f "$log"
fi

# Two nodes with a pool of 1 GiB each, and EAL's own few: 1200 pages of 2 MiB; on a small machine
# no more than half of the memory at hand.
pages=/sys/kernel/mm/hugepages/hugepages-2048kB
if [ ! -w $pages/nr_hugepages ]; then
	echo "no 2 MiB hugepages to reserve here ($pages): run with --no-huge -m MB" >&2
	exit 0
fi
available_kb=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
want=1200
[ $((available_kb / 2 / 2048)) -ge $want ] || want=$((available_kb / 2 / 2048))
free=$(cat $pages/free_hugepages)
if [ "$free" -lt "$want" ]; then
	total=$(cat $pages/nr_hugepages)
	echo $((total + want - free)) >$pages/nr_hugepages ||
		echo "the kernel refused $((total + want - free)) hugepages" >&2
	free=$(cat $pages/free_hugepages)
	[ "$free" -ge "$want" ] ||
		echo "$free of $want hugepages are free: memory is short or in pieces; use smaller" \
			"buffers, or --no-huge -m MB" >&2
fi
