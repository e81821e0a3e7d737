#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two kvrail-bench nodes under softnic: data, faults, signals, options, telemetry, traces.

    two_nodes.py SOFTNIC KVRAIL_BENCH [WORD]    WORD: only tests whose name has it

KVR_SHORT=1 moves data of fewer shapes, for builds that are slow. KVRAIL_TRACE names a request
trace to replay; without it one in the same format is made up.
"""
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

SOFTNIC, BENCH = (os.path.abspath(path) for path in sys.argv[1:3])
ONLY = sys.argv[3] if len(sys.argv) > 3 else ""
SHORT = bool(os.environ.get("KVR_SHORT"))
HUGE = ["-l", "0,1", "--in-memory", "--single-file-segments", "--iova-mode=va"]
COMPLETED = re.compile(r"Test completed: duration \d+\.\d+, batch count \d+, throughput [\d.]+ \S+/s")
PATIENCE = 60  # seconds until a step that should end is called hung
TESTS = []


def test(function):
    TESTS.append((function.__name__, function))
    return function


def check(condition, what):
    if not condition:
        raise AssertionError(what)


class Process:
    """kvrail-bench under softnic, its output in files."""

    def __init__(self, instance, devices, eal, options):
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.launcher = subprocess.Popen(
            [SOFTNIC, "--devices", str(devices), "--instance", instance, "--", BENCH,
             *eal, "--", *options], stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)

    def text(self, file):
        with open(f"/proc/self/fd/{file.fileno()}") as again:
            return again.read()

    def stdout(self):
        return self.text(self.out)

    def stderr(self):
        return self.text(self.err)

    def bench_pid(self):
        pid = self.launcher.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return int(children.read().split()[0])

    def until(self, pattern):
        """Waits for a line of standard output; returns the match."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ended = self.launcher.poll() is not None
            match = re.search(pattern, self.stdout(), re.M)
            if match:
                return match
            if ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in:\n{self.stdout()}{self.stderr()}")

    def wait(self, patience=PATIENCE):
        try:
            return self.launcher.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {patience} s:\n{self.stderr()}") from None

    def expect(self, status):
        got = self.wait()
        check(got == status, f"exit {got}, not {status}:\n{self.stdout()}{self.stderr()}")

    def end(self):
        if self.launcher.poll() is None:
            self.launcher.terminate()
            try:
                self.launcher.wait(10)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError, IndexError):
                    os.kill(self.bench_pid(), signal.SIGKILL)
                self.launcher.kill()
                self.launcher.wait()


class Nodes:
    """The processes of one test on one softnic instance."""

    def __init__(self, devices=2):
        self.devices = devices
        self.instance = f"two-nodes-{os.getpid()}-{devices}"
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.end()

    def start(self, options, eal=HUGE):
        process = Process(self.instance, self.devices, eal, options)
        self.running.append(process)
        return process

    def target(self, *options, eal=HUGE):
        """A target that listens; its address is in .address."""
        process = self.start(["--mode=target", "--buffer-size=64M", *options], eal)
        process.address = process.until(r"^listening on (\S+)$").group(1)
        return process

    def initiator(self, target, *options, eal=HUGE):
        return self.start(["--mode=initiator", f"--segment-id={target.address}",
                           "--buffer-size=64M", "--batch-size=16", "--threads=2",
                           "--duration=0.3", *options], eal)

    def run(self, target, *options, eal=HUGE):
        """A run that must succeed; returns its JSON result."""
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            process = self.initiator(target, f"--json={file.name}", *options, eal=eal)
            process.expect(0)
            last = process.stdout().splitlines()[-1]
            check(COMPLETED.fullmatch(last), f"ends with {last!r}")
            report = json.load(file)
        result = report["result"]
        check(result["status"] == "ok", result["status"])
        check(result["batches"] > 0, "no batch has ended")
        for op in ("tx_bytes", "rx_bytes"):
            devices = sum(device[op] for device in result["devices"])
            check(devices == result[op], f"{op}: {devices} on devices, {result[op]} in all")
        if "--verify" in options:
            check("verified: every byte was right" in process.stdout(), "nothing was verified")
        return report

    def stop(self, process):
        """SIGTERM drains and exits 0."""
        process.launcher.terminate()
        process.expect(0)


def shape(operation, block, devices):
    """One verified run of a block size; everything else is drawn."""
    draw = random.Random(f"{operation} {block} {devices}")
    odd = draw.randrange(1, 5000)

    def run():
        with Nodes(devices) as nodes:
            target = nodes.target(f"--buffer-size={(48 << 20) + odd}")
            report = nodes.run(
                target, f"--operation={operation}", f"--block-size={block}", "--verify",
                f"--buffer-size={(33 << 20) + draw.randrange(1, 5000)}",
                # Each thread verifies blocks of its own, and there are two of 16M.
                f"--threads={draw.randrange(1, 9) if block < 1 << 22 else 2}",
                f"--batch-size={draw.randrange(1, 65) if block < 1 << 20 else 2}")
            used = [d for d in report["result"]["devices"] if d["tx_slices"] + d["rx_slices"]]
            check(len(report["result"]["devices"]) == devices, "devices are missing")
            check(used, "no device was used")
            check(report["options"]["block_bytes"] == block, "another block size ran")
            nodes.stop(target)
    TESTS.append((f"{operation}s_of_{block}_bytes_arrive_on_{devices}_devices", run))


for n_devices in (2,) if SHORT else (1, 2, 4):
    for block_bytes in (7, 4096, 1 << 20) if SHORT else (1, 7, 64, 4095, 4096, 65537, 1 << 20,
                                                         16 << 20):
        for op_name in ("write", "read"):
            shape(op_name, block_bytes, n_devices)


@test
def killed_target_ends_the_initiator_in_time_and_a_new_one_works():
    with Nodes() as nodes:
        target = nodes.target()
        initiator = nodes.initiator(target, "--operation=write", "--duration=60", "--timeout=3",
                                    "--block-size=1M")
        time.sleep(1.5)
        os.kill(target.bench_pid(), signal.SIGKILL)
        killed = time.monotonic()
        initiator.expect(1)
        took = time.monotonic() - killed
        check(took < 4, f"took {took:.1f} s with --timeout 3")
        last = initiator.stdout().splitlines()[-1]
        check(COMPLETED.fullmatch(last), f"ends with {last!r}")
        target.wait()
        nodes.run(nodes.target(), "--operation=read", "--verify")


@test
def killed_initiator_leaves_the_target_serving():
    with Nodes() as nodes:
        target = nodes.target()
        initiator = nodes.initiator(target, "--operation=write", "--duration=60")
        time.sleep(1)
        os.kill(initiator.bench_pid(), signal.SIGKILL)
        initiator.wait()
        nodes.run(target, "--operation=write", "--verify")
        nodes.stop(target)


@test
def sigterm_and_sigint_drain_and_exit_0():
    with Nodes() as nodes:
        target = nodes.target()
        for number in (signal.SIGTERM, signal.SIGINT):
            initiator = nodes.initiator(target, "--operation=write", "--duration=60")
            time.sleep(1)
            initiator.launcher.send_signal(number)
            initiator.expect(0)
            last = initiator.stdout().splitlines()[-1]
            check(COMPLETED.fullmatch(last), f"ends with {last!r}")
        target.launcher.send_signal(signal.SIGINT)
        target.expect(0)


@test
def bad_lines_exit_2_with_one_line_that_names_the_value():
    whole = ["--mode=initiator", "--segment-id=127.0.0.1:1"]
    lines = [
        (["--mode=sideways"], "sideways"),
        ([], "--mode"),
        (["--mode=initiator"], "--segment-id"),
        ([*whole, "--block-size=12Q"], "12Q"),
        ([*whole, "--block-size=0"], "0"),
        ([*whole, "--batch-size=-4"], "-4"),
        ([*whole, "--threads=none"], "none"),
        ([*whole, "--duration=soon"], "soon"),
        ([*whole, "--operation=move"], "move"),
        ([*whole, "--protocol=tcp"], "tcp"),
        ([*whole, "--report-unit=XB"], "XB"),
        ([*whole, "--no-such-option"], "no-such-option"),
        ([*whole, "stray"], "stray"),
        (["--mode=initiator", "--segment-id=nowhere"], "nowhere"),
        (["--mode=target", "--listen=127.0.0.1"], "127.0.0.1"),
        ([*whole, "--trace=/nonexistent.jsonl"], "/nonexistent.jsonl"),
        ([*whole, "--device-name=mlx5_9"], "mlx5_9"),
        ([*whole, "--block-size=2G", "--buffer-size=1G"], "2G"),
    ]
    with Nodes() as nodes:
        for options, word in lines:
            process = nodes.start(options)
            process.expect(2)
            said = [line for line in process.stderr().splitlines()
                    if line.startswith("kvrail-bench:")]
            check(len(said) == 1 and word in said[0], f"{options}: {process.stderr()}")
        process = nodes.start([*whole], ["-l", "0", "--in-memory"])
        process.expect(2)
        check("lcore" in process.stderr(), process.stderr())


@test
def nobody_at_the_address_is_an_error_that_names_it():
    with socket.socket() as unused, Nodes() as nodes:
        unused.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % unused.getsockname()[1]
        process = nodes.start(["--mode=initiator", f"--segment-id={address}",
                               "--buffer-size=64M"])
        process.expect(2)
        check(address in process.stderr(), process.stderr())


class Telemetry:
    """A client of DPDK's telemetry socket."""

    def __init__(self, prefix):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(f"/var/run/dpdk/{prefix}/dpdk_telemetry.v2")
        self.limit = json.loads(self.socket.recv(1024))["max_output_len"]

    def ask(self, path):
        self.socket.send(path.encode())
        return json.loads(self.socket.recv(self.limit))[path.split(",")[0]]


@test
def telemetry_counts_what_the_report_says_to_the_byte():
    for operation in ("write", "read"):
        prefix = f"kvr-{os.getpid()}-{operation}"
        with Nodes() as nodes, tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            initiator = nodes.initiator(
                nodes.target(), f"--operation={operation}", "--linger=60", f"--json={file.name}",
                "--block-size=65537", eal=[*HUGE, f"--file-prefix={prefix}"])
            initiator.until("^Test completed")
            result = json.load(file)["result"]
            telemetry = Telemetry(prefix)
            total = telemetry.ask("/kvrail/throughput")["total"]
            for key in ("tx_bytes", "rx_bytes"):
                check(total[key] == result[key], f"{key}: {total[key]}, not {result[key]}")
            for device in result["devices"]:
                told = telemetry.ask(f"/kvrail/device,{device['name']}")
                for key in ("tx_bytes", "rx_bytes", "tx_slices", "rx_slices", "proofs", "errors",
                            "failed_bytes"):
                    check(told[key] == device[key], f"{key}: {told[key]}, not {device[key]}")
            stats = telemetry.ask("/kvrail/stats")
            check(stats["transfers"] == result["transfers"], f"transfers: {stats}, {result}")
            for path in ("info", "devices", "lcores", "lanes", "pools", "peers", "latency",
                         "errors"):
                check(telemetry.ask(f"/kvrail/{path}"), f"/kvrail/{path} is empty")
            peer = telemetry.ask("/kvrail/peers")["peers"]["0"]
            check(peer["direction"] == "initiator", f"{peer}")
            initiator.launcher.terminate()
            initiator.expect(0)


@test
def ordinary_pages_work_without_hugepages():
    def eal(name):
        return ["-l", "0,1", "--no-huge", "-m", "160", "--iova-mode=va",
                f"--file-prefix=kvr-{os.getpid()}-{name}"]
    with Nodes() as nodes:
        target = nodes.target("--buffer-size=16M", eal=eal("target"))
        for operation in ("write", "read"):
            nodes.run(target, f"--operation={operation}", "--buffer-size=16M", "--verify",
                      eal=eal("initiator"))


@test
def two_initiators_share_one_target():
    with Nodes() as nodes:
        target = nodes.target()
        pair = [nodes.initiator(target, f"--operation={operation}", "--duration=1")
                for operation in ("write", "read")]
        for initiator in pair:
            initiator.expect(0)
        nodes.run(target, "--operation=write", "--verify")


@test
def several_pollers_divide_large_batches():
    eal = ["--lcores=0@0,(1-3)@1", *HUGE[2:]]
    with Nodes() as nodes:
        target = nodes.target()
        for operation in ("write", "read"):
            report = nodes.run(target, f"--operation={operation}", "--verify",
                               "--block-size=1M", eal=eal)
            idle = [core for core in report["result"]["lcores"] if core["batches"] == 0]
            check(len(report["result"]["lcores"]) == 3 and not idle, f"idle pollers: {idle}")


@test
def every_way_to_run_succeeds():
    with Nodes() as nodes:
        target = nodes.target()
        for options in (["--hot"], ["--level=sent", "--operation=write"],
                        ["--priority=latency", "--verify"],
                        ["--slice-size=4097", "--block-size=1M", "--verify"],
                        ["--device-name=mlx5_1", "--operation=write"],
                        ["--report_unit=MiB", "--report_precision=3", "--block_size=4K"]):
            nodes.run(target, *options)


def synthetic_trace(file):
    """Requests that share prefixes, as conversations do."""
    draw = random.Random(1)
    fresh = iter(range(1 << 30))
    prefixes = [[next(fresh)]]
    for i in range(1000):
        ids = draw.choice(prefixes) + [next(fresh) for _ in range(draw.randrange(1, 20))]
        prefixes = (prefixes + [ids[:60]])[-50:]
        file.write(json.dumps({"timestamp": i * 10, "input_length": 512 * len(ids),
                               "output_length": 100, "hash_ids": ids}) + "\n")


@test
def first_1000_requests_of_a_trace_are_replayed():
    with Nodes() as nodes, tempfile.NamedTemporaryFile("w+", suffix=".jsonl") as trace:
        path = os.environ.get("KVRAIL_TRACE")
        if path:
            with open(path) as whole:
                trace.writelines(line for line, _ in zip(whole, range(1000)))
        else:
            synthetic_trace(trace)
        trace.flush()
        trace.seek(0)
        requests = [json.loads(line)["hash_ids"] for line in trace]
        report = nodes.run(nodes.target(), f"--trace={trace.name}", "--speedup=max",
                           "--kv-bytes-per-token=4", "--pool-blocks=8192")
        replay = report["result"]["trace"]
        check(replay["requests"] == len(requests), f"{replay['requests']} requests")
        check(replay["block_references"] == sum(map(len, requests)), f"references: {replay}")
        check(replay["distinct_blocks"] == len({i for ids in requests for i in ids}),
              f"distinct: {replay}")
        check(replay["block_hits"] > 0, "no block was ever read")


def main():
    passed = failed = 0
    for name, function in TESTS:
        if ONLY not in name:
            continue
        try:
            function()
        except Exception:  # whatever it is, the other tests run
            failed += 1
            print(f"FAIL  {name}\n{traceback.format_exc()}", flush=True)
        else:
            passed += 1
            print(f"ok    {name}", flush=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed != 0


sys.exit(main())
