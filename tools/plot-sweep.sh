#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Heat maps of a `kvrail-bench --sweep ... --json JSON`: bandwidth, median and p99 latency over block
# and batch size, a column for each number of threads. Points that were left out stay white.
#
#   plot-sweep.sh JSON OUT.svg
set -euo pipefail

fail() {
	echo "plot-sweep.sh: $*" >&2
	exit 1
}

[ $# = 2 ] || fail "usage: plot-sweep.sh JSON OUT.svg"
for program in gnuplot python3; do
	command -v "$program" >/dev/null ||
		fail "$program is missing: apt-get install ${program/#gnuplot/gnuplot-nox}"
done

# Before gnuplot runs, which would leave an empty picture.
script=$(python3 - "$1" "$2" <<'PYTHON'
import json, sys

def size(n):
    for unit, name in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if n % unit == 0:
            return f"{n // unit}{name}"
    return str(n)

def quote(text):
    return "'" + text.replace("'", "''") + "'"

path, out = sys.argv[1:]
try:
    with open(path) as file:
        sweep = json.load(file)["sweep"]
    blocks, batches, threads = sweep["block_bytes"], sweep["batch_size"], sweep["threads"]
    points = {(p["threads"], p["block_bytes"], p["batch_size"]): p for p in sweep["points"]}
    maps = [("GB/s", lambda p: p["bytes_per_sec"] / 1e9, False),
            ("p50 latency of a batch, us", lambda p: p["p50_us"], True),
            ("p99 latency of a batch, us", lambda p: p["p99_us"], True)]
    if not points:
        raise ValueError("no point was measured")
    values = [[value(p) for p in points.values()] for _, value, _ in maps]
except (OSError, ValueError, KeyError, TypeError) as error:
    sys.exit(f"plot-sweep.sh: {path}: not the JSON of a sweep: {error!r}")

print(f"""set terminal svg size {160 + 340 * len(threads)},{330 * len(maps)} background 'white'
set output {quote(out)}
set multiplot layout {len(maps)},{len(threads)}
set palette defined (0 '#0d0887', 1 '#7e03a8', 2 '#cc4778', 3 '#f89540', 4 '#f0f921')
set xlabel 'batch size'
set ylabel 'block size'
set xrange [-0.5:{len(batches) - 0.5}]
set yrange [-0.5:{len(blocks) - 0.5}]
set xtics ({", ".join(f"'{n}' {i}" for i, n in enumerate(batches))}) rotate by 45 right
set ytics ({", ".join(f"'{size(n)}' {i}" for i, n in enumerate(blocks))})""")
for (title, value, log), shown in zip(maps, values):
    low, high = min(shown), max(shown)
    print("set logscale cb" if log else "unset logscale cb")
    print(f"set cbrange [{low if log else 0}:{high if high > low else high * 1.01}]")
    for n in threads:
        print(f"set title '{title}, {n} thread{'s' if n > 1 else ''}'")
        print("$map << END")
        for y, block in enumerate(blocks):
            for x, batch in enumerate(batches):
                if (n, block, batch) in points:
                    print(x, y, f"{value(points[n, block, batch]):.6g}")
        print("END")
        print("plot $map using 1:2:(0.5):(0.5):3 with boxxyerror fillstyle solid noborder "
              "palette notitle")
PYTHON
)
gnuplot <<<"$script"
