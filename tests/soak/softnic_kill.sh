#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# kill -9 at random points: of single processes in the midst of traffic (softnic_kill.c), and of
# whole launches, launcher and all. SOFTNIC names the launcher.
#
#   softnic_kill.sh PROGRAM [ROUNDS]
set -u

SOFTNIC=${SOFTNIC:-softnic}
PROGRAM=$1
ROUNDS=${2:-20}
INSTANCE=kill-$$
DIR=/dev/shm/softnic-$(id -u)-$INSTANCE
passed=0 failed=0

check() { # NAME CONDITION...
	name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		echo "ok   $name"
	else
		failed=$((failed + 1))
		echo "FAIL $name"
	fi
}

gone() {
	[ ! -e "$DIR" ] || { ls -l "$DIR"; false; }
}

# The dying may still be there when the next launch leaves; then `softnic list` cleans up.
soon_gone() {
	tries=0
	while [ -e "$DIR" ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || { "$SOFTNIC" list --instance "$INSTANCE"; gone; return 1; }
		sleep 0.05
		"$SOFTNIC" list --instance "$INSTANCE" >/dev/null
	done
}

# A launch in a session of its own, so that all of it can be killed at one stroke.
kill_a_launch() { # ROUND
	setsid "$SOFTNIC" --instance "$INSTANCE" -- "$PROGRAM" 1000 "$1" >/dev/null 2>&1 &
	session=$!
	sleep "0.$(printf %03d $(($1 * 7919 % 400)))"
	kill -s KILL -- "-$session" 2>/dev/null || kill -9 "$session"
	wait "$session" 2>/dev/null
}

killed_anywhere() {
	round=0
	while [ "$round" -lt "$ROUNDS" ]; do
		kill_a_launch "$round"
		timeout 20 "$SOFTNIC" --instance "$INSTANCE" -- ibv_devices | grep -q mlx5_1 ||
			return 1
		soon_gone || return 1
		round=$((round + 1))
	done
}

"$SOFTNIC" --instance "$INSTANCE" -- "$PROGRAM" "$ROUNDS"
check "$ROUNDS processes are killed in the midst of traffic" [ $? -eq 0 ]
check "and nothing of the instance is left" gone
check "$ROUNDS launches are killed whole, and the next one starts clean" killed_anywhere

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
