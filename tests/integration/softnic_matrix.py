#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The world's RDMA programs on softnic's devices: a table of pass, fail and refused.

    softnic_matrix.py [--full] [--only WORD] [--verbose]

Without --full, what runs in about a minute: each program, each transport, each thing a program may
ask for, once. SOFTNIC names the launcher. A row is

    ok       the program did what it was asked to
    refused  it said itself that the device cannot do this, and that is what the row expects
    FAIL     anything else
    skip     the program is not installed
"""
import argparse
import collections
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SOFTNIC = os.environ.get("SOFTNIC", "softnic")
INSTANCE = f"matrix-{os.getpid()}"
LIMIT_S = 60

CM_PROGRAMS = "rping", "ucmatose", "udaddy", "rstream"


class Row(collections.namedtuple("Row", "command full server client environment refusal single")):
    """One program with its options. {port} is a TCP port nobody has; `server` and `client` are
    appended on their sides. `refusal` is what a program that is refused says."""

    def has_cm(self):
        return "-R" in self.command.split() or self.command.split()[0] in CM_PROGRAMS

    def name(self):
        words = [f"{k}={v}" for k, v in self.environment.items()]
        for word in self.command.split():
            words.append(word)
        return " ".join(words)


rows = []


def pair(command, full=False, server="-p {port}", client="-p {port} 127.0.0.1", refusal=None, **environment):
    rows.append(Row(command, full, server, client, environment, refusal, False))


def single(command, full=False, refusal=None, **environment):
    rows.append(Row(command, full, "", "", environment, refusal, True))


# ---- rdma-core ----

def rdma_core():
    single("ibv_devices")
    single("ibv_devinfo")
    single("ibv_devinfo -v -d mlx5_1")
    for program in "rc", "uc", "ud", "srq":
        pair(f"ibv_{program}_pingpong -g 3")
        pair(f"ibv_{program}_pingpong -g 3 -e")
        pair(f"ibv_{program}_pingpong -g 1 -d mlx5_1 -n 200", full=True)
    pair("ibv_rc_pingpong -g 3 -s 100000 -n 200", full=True)
    pair("ibv_rc_pingpong -g 3 -c -n 200")
    pair("ibv_rc_pingpong -g 3 -t", full=True)
    pair("ibv_rc_pingpong -g 3 -N", full=True)
    pair("ibv_rc_pingpong -g 3 -o", refusal="RC does not support ODP|ODP")
    pair("ibv_rc_pingpong -g 3 -j", refusal="DM|device memory", full=True)
    pair("ibv_ud_pingpong -g 3 -s 4096", full=True)
    pair("ibv_srq_pingpong -g 3 -q 64 -r 300", full=True)
    pair("ibv_xsrq_pingpong -g 3", refusal="xrc|XRC|[Oo]peration not supported")


# ---- perftest ----

BANDWIDTH = "ib_write_bw", "ib_read_bw", "ib_send_bw"
LATENCY = "ib_write_lat", "ib_read_lat", "ib_send_lat"
TRANSPORTS = {
    "ib_write_bw": ("UC",), "ib_read_bw": (), "ib_send_bw": ("UC", "UD"), "ib_atomic_bw": (),
    "ib_write_lat": ("UC",), "ib_read_lat": (), "ib_send_lat": ("UC", "UD"), "ib_atomic_lat": (),
}


def perftest(program, options, **how):
    pair(f"{program} -F {options}", **how)


def perftest_bandwidth():
    for program in BANDWIDTH + ("ib_atomic_bw",):
        atomic = program == "ib_atomic_bw"
        size = "" if atomic else "-s 4096 "
        perftest(program, f"-d mlx5_1 {size}-n 1000")
        perftest(program, f"-d mlx5_0 {size}-n 1000 -b")
        perftest(program, f"-d mlx5_0 {size}-n 500 -q 16")
        perftest(program, f"-d mlx5_0 {size}-n 200 -q 64 -b", full=True)
        perftest(program, f"-d mlx5_0 {size}-n 1000 -l 8", full=program != "ib_write_bw")
        perftest(program, f"-d mlx5_0 {size}-n 5 -Q 1", full=True)
        perftest(program, f"-d mlx5_0 {size}-n 1000 -t 1", full=True)
        perftest(program, f"-d mlx5_0 {size}-n 1000 -N --report_gbits", full=True)
        perftest(program, f"-d mlx5_0 {size}-D 2", full=True)
        if program != "ib_write_bw":  # a WRITE has no events, says perftest
            perftest(program, f"-d mlx5_0 {size}-n 1000 -e", full=program != "ib_send_bw")
        perftest(program, f"-d mlx5_0 {size}-n 1000 -R", full=program != "ib_write_bw")
        perftest(program, f"-d mlx5_0 {size}-n 1000 -m 1024", full=True)
        perftest(program, f"-d mlx5_0 {size}-n 1000 -u 20 -S 3", full=True)
        for gid in range(4):
            perftest(program, f"-d mlx5_0 {size}-n 200 -x {gid}", full=program != "ib_write_bw" or gid == 3)
        if not atomic:
            perftest(program, "-d mlx5_0 -a -n 100", full=program != "ib_write_bw")
            perftest(program, "-d mlx5_0 -a -n 100 -b", full=True)
            perftest(program, "-d mlx5_0 -s 65536 -n 500 --use_hugepages", full=program != "ib_write_bw")
            perftest(program, "-d mlx5_0 -s 8388608 -n 20", full=True)
            perftest(program, "-d mlx5_0 -s 1 -n 1000", full=True)
            perftest(program, "-d mlx5_0 -s 4096 -n 1000 --mr_per_qp -q 4", full=True)
        for transport in TRANSPORTS[program]:
            perftest(program, f"-d mlx5_0 -c {transport} -s 2048 -n 1000")
            perftest(program, f"-d mlx5_0 -c {transport} -s 2048 -n 1000 -b", full=True)
            perftest(program, f"-d mlx5_0 -c {transport} -s 2048 -n 500 -q 8", full=True)
            perftest(program, f"-d mlx5_0 -c {transport} -a -n 100", full=True)
        perftest(program, f"-d mlx5_0 -c XRC -n 100", refusal="XRC|not supported|xrcd|xrc", full=program != "ib_send_bw")
        perftest(program, f"-d mlx5_0 -c DC -n 100", refusal="DC|not supported", full=True)
    for program in BANDWIDTH:
        if program != "ib_read_bw":
            perftest(program, "-d mlx5_0 -s 64 -n 1000 -I 128")
    perftest("ib_read_bw", "-d mlx5_0 -s 65536 -n 200 -o 1", full=True)
    perftest("ib_atomic_bw", "-d mlx5_0 -n 1000 -A CMP_AND_SWAP")
    perftest("ib_send_bw", "-d mlx5_0 -s 4096 -n 1000 -r 64 --use-srq")
    perftest("ib_send_bw", "-d mlx5_0 -s 4096 -n 500 -q 8 --use-srq", full=True)
    perftest("ib_send_bw", "-d mlx5_0 -c UD -s 1024 -n 500 --use-srq", full=True)
    perftest("ib_send_bw", "-d mlx5_0 -c UD -s 1024 -n 500 -g", refusal="attach QP to MultiCast group")
    perftest("ib_write_bw", "-d mlx5_0 -s 4096 -n 1000 --odp", refusal="[Ff]ailed to create (mr|MR)")


def perftest_latency():
    for program in LATENCY + ("ib_atomic_lat",):
        atomic = program == "ib_atomic_lat"
        size = "" if atomic else "-s 64 "
        perftest(program, f"-d mlx5_1 {size}-n 500")
        perftest(program, f"-d mlx5_0 {size}-n 5", full=True)
        perftest(program, f"-d mlx5_0 {size}-n 500 -m 512", full=True)
        perftest(program, f"-d mlx5_0 {size}-n 500 -R", full=program != "ib_send_lat")
        perftest(program, f"-d mlx5_0 {size}-n 500 -U -H", full=True)
        if program != "ib_write_lat":
            perftest(program, f"-d mlx5_0 {size}-n 500 -e", full=program != "ib_send_lat")
        if not atomic:
            perftest(program, "-d mlx5_0 -a -n 50", full=program != "ib_send_lat")
        if program in ("ib_write_lat", "ib_send_lat"):
            perftest(program, "-d mlx5_0 -s 64 -n 500 -I 0", full=True)
            perftest(program, "-d mlx5_0 -s 200 -n 500 -I 220", full=True)
        for transport in TRANSPORTS[program]:
            perftest(program, f"-d mlx5_0 -c {transport} -s 64 -n 500")
            perftest(program, f"-d mlx5_0 -c {transport} -a -n 50", full=True)
    perftest("ib_send_lat", "-d mlx5_0 -s 64 -n 500 --use-srq", full=True)
    perftest("ib_send_lat", "-d mlx5_0 -c UD -s 64 -n 500 -e", full=True)
    perftest("ib_atomic_lat", "-d mlx5_0 -n 500 -A CMP_AND_SWAP", full=True)


# ---- UCX ----

def ucx():
    single("ucx_info -d")
    # Transport level: each transport by itself. Small messages, copied messages, zero copy.
    uct = {
        "rc_verbs": ("am_lat", "am_bw", "put_lat", "put_bw", "get", "fadd", "cswap"),
        "ud_verbs": ("am_lat", "am_bw"),
        "rc_mlx5": ("am_lat", "am_bw", "put_lat", "put_bw", "get", "fadd", "cswap"),
        "ud_mlx5": ("am_lat", "am_bw"),
    }
    for transport, tests in uct.items():
        for test in tests:
            atomic = test in ("fadd", "cswap")
            layouts = ("short", "bcopy", "zcopy") if test == "put_bw" else ("short",) if atomic else ("bcopy",)
            for layout in layouts:
                quick = layout == "bcopy" and test in ("am_lat", "put_bw") or test == "fadd"
                pair(f"ucx_perftest -x {transport} -d mlx5_0:1 -t {test} -D {layout} "
                     f"-s {8 if atomic or layout == 'short' else 1024} -n 500", full=not quick)
    # Protocol level.
    for transports in "rc_v", "rc_x", "ud_v", "ud_x":
        for test, size in (("tag_bw", 65536), ("tag_lat", 64), ("ucp_am_bw", 8192), ("stream_bw", 4096),
                           ("ucp_put_bw", 65536), ("ucp_get", 65536), ("ucp_add", 8), ("ucp_fadd", 8),
                           ("ucp_swap", 8), ("ucp_cswap", 8), ("tag_sync_lat", 1024), ("stream_lat", 64)):
            quick = (transports, test) in (("rc_x", "tag_bw"), ("rc_v", "ucp_put_bw"), ("ud_v", "tag_bw"),
                                           ("ud_x", "tag_lat"), ("rc_x", "ucp_fadd"), ("rc_v", "stream_bw"),
                                           ("rc_x", "ucp_am_bw"))
            pair(f"ucx_perftest -t {test} -s {size} -n 500", full=not quick,
                 UCX_TLS=transports, UCX_NET_DEVICES="mlx5_0:1")
    pair("ucx_perftest -t tag_bw -s 1048576 -n 100", full=True, UCX_TLS="rc_x", UCX_NET_DEVICES="mlx5_0:1,mlx5_1:1")
    pair("ucx_perftest -t tag_bw -s 1024 -n 100", refusal="not available|no usable|[Nn]o such|unreachable",
         UCX_TLS="dc_mlx5", UCX_NET_DEVICES="mlx5_0:1")


# ---- libfabric ----

def libfabric():
    def fabric(provider):
        return dict(server=f"-B {{port}} -p {provider}", client=f"-P {{port}} -p {provider} 127.0.0.1")

    single("fi_info -p verbs")
    pair("fi_pingpong -e msg -I 200", **fabric("verbs"))
    pair("fi_pingpong -e rdm -I 200", **fabric("verbs;ofi_rxm"))
    pair("fi_pingpong -e dgram -I 200 -d mlx5_0-dgram", full=True, **fabric("verbs"))
    pair("fi_pingpong -e rdm -I 200 -d mlx5_0-dgram", full=True, **fabric("verbs;ofi_rxd"))
    pair("fi_pingpong -e msg -I 50 -S all -c", full=True, **fabric("verbs"))
    pair("fi_pingpong -e rdm -I 50 -S all -c", full=True, **fabric("verbs;ofi_rxm"))


# ---- rdma_cm ----

def rdma_cm():
    pair("rping -C 20 -S 4096 -V", server="-s -a 127.0.0.1 -p {port}", client="-c -a 127.0.0.1 -p {port}")
    pair("ucmatose -C 4 -S 4096", full=True, client="-s 127.0.0.1 -p {port}")
    pair("udaddy -C 4 -S 1024", server="", client="-s 127.0.0.1")
    pair("rstream -S 4096 -C 200", full=True, server="-b 127.0.0.1 -p {port}", client="-s 127.0.0.1 -p {port}")


# ---- running ----

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(port):
    pattern = re.compile(f":{port:04X} [0-9A-F:]* 0A")
    return any(pattern.search(open(f"/proc/net/{table}").read()) for table in ("tcp", "tcp6"))


def start(row, side, port, out):
    words = (row.command + " " + side.format(port=port)).split()
    environment = dict(os.environ, **row.environment)
    return subprocess.Popen([SOFTNIC, "--instance", INSTANCE, "--", "timeout", str(LIMIT_S), *words],
                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment)


def run_single(row, out):
    return start(row, "", 0, out).wait()


def run_pair(row, out, client_out):
    port = free_port()
    server = start(row, row.server, port, out)
    # Listening over rdma_cm is no TCP socket.
    deadline = time.monotonic() + (1 if row.has_cm() else 5)
    while not listening(port) and server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    status = start(row, row.client, port, client_out).wait()
    if status:
        time.sleep(0.2)
        server.terminate()
    try:
        return server.wait(10) or status
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        return status or -1


def run(row, verbose):
    program = row.command.split()[0]
    if not shutil.which(program):
        return "skip", "not installed"
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as client_out:
        status = run_single(row, out) if row.single else run_pair(row, out, client_out)
        out.seek(0)
        client_out.seek(0)
        text = out.read(), client_out.read()
    if verbose:
        print(text[0], text[1], sep="\n")
    if status == 0:
        return ("FAIL", "served, though a refusal is expected") if row.refusal else ("ok", "")
    if row.refusal and any(re.search(row.refusal, t) for t in text):
        return "refused", next(line.strip() for t in text for line in t.splitlines() if re.search(row.refusal, line))
    tails = [line for t in text for line in t.strip().splitlines()[-3:]]
    return "FAIL", f"status {status}: " + " | ".join(tails)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all rows: some ten minutes")
    parser.add_argument("--only", metavar="WORD", help="rows whose name contains it")
    parser.add_argument("--verbose", action="store_true", help="what the programs print")
    arguments = parser.parse_args()
    for chapter in rdma_core, rdma_cm, perftest_bandwidth, perftest_latency, ucx, libfabric:
        chapter()
    counts = collections.Counter()
    for row in rows:
        if (row.full and not arguments.full) or (arguments.only and arguments.only not in row.name()):
            continue
        began = time.monotonic()
        result, why = run(row, arguments.verbose)
        counts[result] += 1
        why = f": {why}" if why else ""
        print(f"{result:<7} {row.name()}{why}  [{time.monotonic() - began:.1f} s]", flush=True)
    left = glob.glob(f"/dev/shm/softnic-{os.getuid()}-{INSTANCE}*")
    if left:
        counts["FAIL"] += 1
        print(f"FAIL    the instance was left behind: {left[0]}")
    print(f"{counts['ok']} served, {counts['refused']} refused by capability")
    print(f"{counts['ok'] + counts['refused']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
