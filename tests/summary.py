#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Adds up what the test programs of one `meson test` run say in their last lines.

    summary.py LANE TESTLOG.json

Prints a line for each program, the output of those that failed, and `N N N`: passed, failed and
skipped, for tools/test.sh, on its last line.
"""
import json
import re
import sys

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)


def main():
    lane, path = sys.argv[1:]
    totals = [0, 0, 0]
    with open(path) as log:
        runs = [json.loads(line) for line in log]
    for run in runs:
        name = run["name"].split(" / ")[-1].removeprefix("kvrail:")
        output = run.get("stdout", "")
        said = SUMMARY.findall(output)
        counts = [int(n) for n in said[-1]] if said else [0, 0, 0]
        # A program that crashed, hung or said nothing has failed once more than it could count.
        if run["result"] != "OK" and counts[1] == 0:
            counts[1] = 1
        totals = [a + b for a, b in zip(totals, counts)]
        verdict = "ok  " if counts[1] == 0 else "FAIL"
        print(f"{verdict}  {lane:<6} {name:<16} {run['duration']:6.1f} s  {counts[0]} passed, "
              f"{counts[1]} failed, {counts[2]} skipped")
        for line in output.splitlines():
            if line.startswith("skip"):
                print(f"      {line}")
        if counts[1]:
            print("\n".join(f"    | {line}" for line in
                            (output + run.get("stderr", "")).splitlines()
                            if not line.startswith("ok "))[-8000:])
    print(*totals)


main()
