#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What --trace-file writes. SOFTNIC names the launcher; STEPPED and POLLING programs to watch.
set -u

INSTANCE=trace-$$
passed=0 failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

check() { # NAME CONDITION...
	name=$1
	shift
	if "$@"; then
		echo "ok   $name"
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $name"
	fi
}

stepped() { # SEED FILE
	"$SOFTNIC" --instance "$INSTANCE" --step --seed "$1" --relaxed 10 --faults drop=0.05 \
		--trace-file "$2" -- "$STEPPED" trace 5 >/dev/null
}

polled() { # MODE FILE
	"$SOFTNIC" --instance "$INSTANCE" --relaxed 0 --trace-file "$2" -- "$POLLING" "$1" 100 \
		>/dev/null
}

# Time, kind, device, and something.
well_formed() { # FILE
	! grep -Evq '^[0-9]+\.[0-9]{9} (command|doorbell|wqe|tx|rx|cqe|event|fault) +mlx5_[0-7] .' "$1" &&
		[ -s "$1" ]
}

in_order() { # FILE
	cut -d' ' -f1 "$1" | sort -c
}

# As many as there were messages.
lines() { # N PATTERN FILE...
	n=$1 pattern=$2
	shift 2
	[ "$(cat "$@" | grep -Ec "$pattern")" -eq "$n" ]
}

differ() {
	! cmp -s "$1" "$2"
}

stepped 3 "$tmp/a" && stepped 3 "$tmp/b" && stepped 4 "$tmp/c"
check "with --step and a seed a run writes the same text again" cmp "$tmp/a" "$tmp/b"
check "and another with another seed" differ "$tmp/a" "$tmp/c"
check "faults are in it" grep -q '^0\.[0-9]* fault  *mlx5_[01] drop' "$tmp/a"

polled imm "$tmp/imm.%p"
check "each process has its file when %p says so" [ "$(ls "$tmp"/imm.* | wc -l)" -eq 2 ]
for file in "$tmp"/imm.*; do
	check "each line has time, kind and device" well_formed "$file"
	check "and follows the one before" in_order "$file"
done
check "a WQE has one line" lines 100 ' wqe .* WRITE_IMM .*rkey 0x' "$tmp"/imm.*
check "so has its packet, where it leaves" lines 100 ' tx .* WRITE_IMM ' "$tmp"/imm.*
check "and where it arrives" lines 100 ' rx .* WRITE_IMM ' "$tmp"/imm.*
check "and the answer" lines 100 ' tx .* ACK$' "$tmp"/imm.*
check "and each of its completions" lines 200 ' cqe .* (WRITE_IMM|RECEIVE_WRITE_IMM) ' "$tmp"/imm.*
check "commands are in it" lines 2 ' command .* QP_CREATE ok$' "$tmp"/imm.*

(cd "$tmp" && polled strict shared)
check "two processes share a file without spoiling a line" well_formed "$tmp/shared"
check "which lacks none" lines 100 ' wqe .* WRITE ' "$tmp/shared"

"$SOFTNIC" --instance "$INSTANCE" --trace-file "$(printf '%0300d' 0)" -- true 2>"$tmp/err"
check "a path that is too long is refused" [ $? -eq 125 ]
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
