#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A program of somebody else's: kvrail installed, found by pkg-config, linked, run.
#
#   install.sh BUILD PREFIX LIBDIR
set -euo pipefail
build=$1 prefix=$2 libdir=$3
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
passed=0 failed=0

check() { # NAME COMMAND...
	local name=$1
	shift
	if "$@" >"$root/out" 2>&1; then
		echo "ok   $name"
		passed=$((passed + 1))
	else
		echo "FAIL $name"
		sed 's/^/  /' "$root/out"
		failed=$((failed + 1))
	fi
}

pc() {
	PKG_CONFIG_PATH=$root$libdir/pkgconfig \
		pkg-config --define-variable=prefix="$root$prefix" "$@" kvrail
}

builds() {
	local flags
	flags=$(pc --cflags --libs) || return 1
	# shellcheck disable=SC2086
	gcc "$root/user.c" $flags -o "$root/user"
}

# One worker lcore is missing: the library says so by its own error text.
runs() {
	"$root/user" | grep -q 'at least two'
}

no_shared_dpdk() {
	! ldd "$root/user" | grep librte
}

cat >"$root/user.c" <<'END'
#include <stdio.h>
#include <kvr.h>

int
main(void)
{
	struct kvr_engine_config config = {0};
	struct kvr_error error = {""};
	struct kvr_engine *engine;
	int err = kvr_engine_create(&config, &engine, &error);

	puts(error.text);
	return err == 0;
}
END
check "installs" env DESTDIR="$root" meson install -C "$build" --no-rebuild
check "a program builds by pkg-config" builds
check "and runs" runs
check "and loads no shared DPDK" no_shared_dpdk
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
