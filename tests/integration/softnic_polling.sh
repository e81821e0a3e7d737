#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Who polls relaxed-ordered memory for its data is caught by softnic as it is by default, and who
# does it by the book never is. SOFTNIC and POLLING name the programs, RUNS how often each runs.
set -u

RUNS=${RUNS:-$([ "${KVR_SHORT:-0}" = 1 ] && echo 3 || echo 8)}
FIRST_SEED=${FIRST_SEED:-1}
passed=0 failed=0

# The seeds of those runs that ended otherwise than with STATUS.
others() { # STATUS MODE MESSAGES
	seed=$FIRST_SEED
	while [ "$seed" -lt $((FIRST_SEED + RUNS)) ]; do
		"$SOFTNIC" --instance "polling-$$" --seed "$seed" -- "$POLLING" "$2" "$3" >/dev/null
		[ $? -eq "$1" ] || printf ' %s' "$seed"
		seed=$((seed + 1))
	done
}

check() { # NAME STATUS MODE MESSAGES
	bad=$(others "$2" "$3" "$4")
	seeds="seeds $FIRST_SEED to $((FIRST_SEED + RUNS - 1))"
	if [ -z "$bad" ]; then
		echo "ok   $1 ($seeds)"
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $1 ($seeds): not with seeds$bad"
	fi
}

check "the last byte of relaxed memory says nothing of the others" 1 last-byte 200000
check "nor does a flag written behind the payload" 1 flag 200000
check "in strict memory the last byte is last" 0 strict 5000
check "the completion of a WRITE_IMM proves its payload" 0 imm 5000
check "a READ behind a WRITE proves its payload" 0 read 5000
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
