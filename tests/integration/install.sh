#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A program of somebody else's: kvrail installed, found by pkg-config, linked, run. Then softnic
# built and installed alone.
#
#   install.sh BUILD PREFIX LIBDIR SOURCE
set -euo pipefail
build=$1 prefix=$2 libdir=$3 source=$4
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

# The docs' command line; into a place of its own, as by `meson install` on a machine.
builds_alone() {
	meson setup -Dsoftnic_only=true --prefix "$root/alone" "$root/build" "$source" &&
		meson install -C "$root/build" &&
		! grep -i -E 'dpdk|libnuma' "$root/build/meson-logs/meson-log.txt"
}

runs_alone() {
	"$root/alone/bin/softnic" --instance "install-$$" --devices 3 -- ibv_devices | grep -q mlx5_2
}

page() {
	echo "$root/alone/share/man/man1/softnic.1"
}

# Every option that --help names has its paragraph.
page_is_complete() {
	local option missing=0
	for option in $("$root/alone/bin/softnic" --help | grep -oE -- '^  --[a-z-]+|, --[a-z-]+' |
		grep -oE -- '--[a-z-]+' | sort -u); do
		grep -q -E "^\.It .*Fl ${option#-}" "$(page)" || { echo "$option is missing"; missing=1; }
	done
	return $missing
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
check "softnic builds and installs alone, without DPDK" builds_alone
check "and runs where it was installed" runs_alone
check "its man page has no error" mandoc -T lint -W warning "$(page)"
check "and knows every option" page_is_complete
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
