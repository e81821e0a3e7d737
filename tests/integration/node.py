#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Past 600 lines: sixteen tests of one program that share its nodes and functions.
"""kvrail-node and kvrail-ctl under softnic: objects, drain, reload, faults, systemd, usage.

    node.py SOFTNIC KVRAIL_NODE KVRAIL_CTL [WORD]    WORD: only tests whose name has it
"""
import contextlib
import filecmp
import glob
import json
import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback

SOFTNIC, NODE, CTL = (os.path.abspath(path) for path in sys.argv[1:4])
ONLY = sys.argv[4] if len(sys.argv) > 4 else ""
EAL = ["-l", "0,1", "--in-memory", "--single-file-segments", "--iova-mode=va"]
INSTANCE = f"node-{os.getpid()}"
POOL = 192 << 20
OBJECT = 160 << 20
# 0.5 GB/s for both devices, so that a copy takes long enough to be met under way.
DEVICES = ["--devices", "2", "--rate", "2"]
PATIENCE = 60  # seconds until a step that should end is called hung
TESTS = []


def test(function):
    TESTS.append((function.__name__, function))
    return function


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


class Node:
    """A kvrail-node under softnic, its output in files."""

    def __init__(self, options, eal=(), env=None):
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.launcher = subprocess.Popen(
            [SOFTNIC, *DEVICES, "--instance", INSTANCE, "--", NODE, *EAL, *eal, "--",
             *options], stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
            env={**os.environ, **(env or {})})

    @staticmethod
    def text(file):
        with open(f"/proc/self/fd/{file.fileno()}") as again:
            return again.read()

    def stderr(self):
        return self.text(self.err)

    def pid(self):
        pid = self.launcher.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return int(children.read().split()[0])

    def listening(self):
        line = re.compile(r"^listening on (\S+)$", re.M)
        until(lambda: line.search(self.text(self.out)) or self.launcher.poll() is not None,
              "listening")
        match = line.search(self.text(self.out))
        check(match, f"not listening: {self.stderr()}")
        self.address = match.group(1)
        return self

    def said(self, pattern):
        until(lambda: re.search(pattern, self.stderr()), f"{pattern!r} in {self.stderr()}")

    def signal(self, number):
        os.kill(self.pid(), number)

    def expect(self, status):
        got = self.launcher.wait(PATIENCE)
        check(got == status, f"exit {got}, not {status}:\n{self.stderr()}")

    def end(self):
        if self.launcher.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                self.signal(signal.SIGKILL)
            self.launcher.wait()


class Nodes:
    """The nodes of one test: each has a name of its own on this host."""

    def __enter__(self):
        self.running = []
        self.directory = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *_):
        for node in self.running:
            node.end()
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def start(self, name, *options, listen="127.0.0.1:0", eal=(), env=None):
        node = Node(["--listen", listen, "--name", name, "--pool", str(POOL), *options], eal, env)
        self.running.append(node)
        node.name = name
        return node.listening()

    def pair(self):
        """gpu1, and gpu0 that may copy to it."""
        target = self.start(f"gpu1-{os.getpid()}")
        return self.start(f"gpu0-{os.getpid()}", "--peer", target.address), target

    def file(self, name, size):
        with open(self.path(name), "wb") as file:
            file.write(random.Random(name).randbytes(size))
        return self.path(name)

    def stop(self, *nodes):
        for node in nodes:
            node.launcher.terminate()
            node.expect(0)


def ctl(node, *arguments, status=0):
    """A kvrail-ctl that must end so; what it says."""
    done = subprocess.run([CTL, "--node", node.name, *arguments], timeout=PATIENCE,
                          capture_output=True, text=True)
    check(done.returncode == status,
          f"kvrail-ctl {arguments}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout if status == 0 else done.stderr


def ctl_background(node, *arguments):
    return subprocess.Popen([CTL, "--node", node.name, *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def objects(node):
    """Asked at the control socket itself: kvrail-ctl takes longer than some copies."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.closing(client.makefile("rw")) as lines:
        client.connect(re.search(r"control: (\S+)", node.stderr()).group(1))
        lines.write('{"request": "list"}\n')
        lines.flush()
        return {entry["name"]: entry for entry in json.loads(lines.readline())["objects"]}


def is_being_written(node, name):
    return objects(node).get(name, {}).get("state") == "being written"


class Telemetry:
    """A client of a node's telemetry socket."""

    def __init__(self, prefix):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(f"/var/run/dpdk/{prefix}/dpdk_telemetry.v2")
        self.limit = json.loads(self.socket.recv(1024))["max_output_len"]

    def ask(self, path):
        self.socket.send(path.encode())
        return json.loads(self.socket.recv(self.limit))[path.split(",")[0]]


def free_blocks(prefix):
    return Telemetry(prefix).ask("/kvrail/pools")["pools"]["0"]["free_blocks"]


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@test
def two_shells_of_the_readme_work_as_they_are_written():
    with open(os.path.join(os.path.dirname(__file__), "../../README.md")) as readme:
        section = readme.read().split("\n## Two shells\n")[1].split("\n## ")[0]
    for written, here in (("build/tools/softnic/softnic", f"{SOFTNIC} --instance {INSTANCE}"),
                          ("build/app/kvrail-node", NODE), ("build/app/kvrail-ctl", CTL),
                          ("7001", str(free_port())), ("7002", str(free_port())),
                          (" left", f" left-{os.getpid()}"), (" right", f" right-{os.getpid()}")):
        check(written in section, f"{written} is not in the README")
        section = section.replace(written, here)
    nodes, commands = re.findall(r"^```\n(.*?)^```$", section, re.M | re.S)
    running = []
    try:
        for command in nodes.strip().split("\n\n"):
            running.append(subprocess.Popen(["sh", "-c", "exec " + command], text=True,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
            check("listening on" in running[-1].stdout.readline(), command)
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run(["sh", "-ec", commands], cwd=directory, timeout=PATIENCE,
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        check(done.returncode == 0 and "\nidentical\n" in done.stdout, done.stdout)
        check(re.search(r"^mlx5_1 .*M  ", done.stdout, re.M), f"top: {done.stdout}")
    finally:
        for node in running:
            node.terminate()
    for node in running:
        check(node.wait(PATIENCE) == 0, "exit status of a node")


@test
def a_file_put_on_one_node_and_copied_to_another_comes_back_identical():
    prefix = f"kvr-{os.getpid()}"
    with Nodes() as nodes:
        target = nodes.start(f"gpu1-{os.getpid()}", eal=["--file-prefix", prefix + "-1"])
        source = nodes.start(f"gpu0-{os.getpid()}", "--peer", target.address,
                             eal=["--file-prefix", prefix + "-0"])
        for size in (0, 1, 65536, 65537, 100_000_001):
            name = f"object of {size} bytes: ü"
            ctl(source, "put", nodes.file("original", size), name)
            said = ctl(source, "copy", name, target.address if size % 2 else target.name)
            check(f"to {target.name}: {size} bytes" in said, said)
            ctl(target, "get", name, nodes.path("back"))
            check(filecmp.cmp(nodes.path("original"), nodes.path("back"), shallow=False),
                  f"{size} bytes differ")
        moved = Telemetry(prefix + "-0").ask("/kvrail/throughput")["total"]["tx_bytes"]
        check(moved == 1 + 65536 + 65537 + 100_000_001, f"telemetry counts {moved} bytes")
        top = ctl(source, "top", "--once")
        for word in ("mlx5_0", "mlx5_1", "pool0", "BUSY %", target.name, "active", source.name):
            check(word in top, f"top lacks {word}:\n{top}")
        check(target.name in ctl(source, "lanes"), "lanes lack the peer")
        peers = json.loads(ctl(source, "peers", "--json"))["peers"]
        check(peers == [{"address": target.address, "name": target.name, "state": "up",
                         "trouble": ""}], f"{peers}")
        nodes.stop(source, target)


@test
def objects_in_pieces_of_a_fragmented_pool_arrive():
    with Nodes() as nodes:
        source, target = nodes.pair()
        # Both keep every second of their fillers, so that no run of free blocks is long; the
        # runs of one begin and end elsewhere than those of the other.
        fillers = {source: 16, target: 12}
        for node, n in fillers.items():
            for i in range(n):
                ctl(node, "put", nodes.file(f"filler{i} of {n}", POOL // n), f"filler{i}")
            for i in range(0, n, 2):
                ctl(node, "remove", f"filler{i}")
        big = nodes.file("big", POOL // 3)
        ctl(source, "put", big, "big")
        check(objects(source)["big"]["runs"] > 1, f"{objects(source)['big']}")
        ctl(source, "copy", "big", target.name)
        check(objects(target)["big"]["runs"] > 1, f"{objects(target)['big']}")
        ctl(target, "get", "big", nodes.path("back"))
        check(filecmp.cmp(big, nodes.path("back"), shallow=False), "bytes differ")
        for i in range(1, fillers[target], 2):
            ctl(target, "get", f"filler{i}", nodes.path("back"))
            check(filecmp.cmp(nodes.path(f"filler{i} of {fillers[target]}"), nodes.path("back"),
                              shallow=False), f"filler{i} was written to")
        nodes.stop(source, target)


@test
def what_cannot_be_done_is_said():
    with Nodes() as nodes, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = "127.0.0.1:%d" % unused.getsockname()[1]
        target = nodes.start(f"gpu1-{os.getpid()}")
        source = nodes.start(f"gpu0-{os.getpid()}", "--peer", target.address, "--peer", nobody)
        small = nodes.file("small", 1000)
        ctl(source, "put", small, "a")
        ctl(source, "copy", "a", target.address)
        with open(nodes.path("sparse"), "wb") as file:
            file.truncate(POOL + 1)
        for arguments, words in (
                (("put", small, "a"), ("'a' exists already",)),
                (("put", nodes.path("none"), "b"), (nodes.path("none"), "No such file")),
                (("put", nodes.path(""), "b"), ("not a regular file",)),
                (("put", nodes.path("sparse"), "b"), ("no room", str(POOL + 1))),
                (("put", small, ""), ("name",)),
                (("put", small, "x" * 256), ("name", "255")),
                (("get", "b", nodes.path("b")), ("no object 'b'",)),
                (("get", "a", nodes.path("no/where")), (nodes.path("no/where"),)),
                (("remove", "b"), ("no object 'b'",)),
                (("copy", "b", target.address), ("no object 'b'",)),
                (("copy", "a", target.address), (target.name, "'a' exists already")),
                (("copy", "a", nobody), (nobody, "Connection refused")),
                (("copy", "a", "nemo"), ("no peer 'nemo'",))):
            said = ctl(source, *arguments, status=1)
            check(all(word in said for word in words), f"{arguments}: {said}")
            check(said.startswith("kvrail-ctl: ") and said.count("\n") == 1, said)
        check(not os.path.exists(nodes.path("b")), "a get that failed left a file")
        for arguments in ((), ("move",), ("put", "one"), ("list", "two"), ("--no-such-option",)):
            ctl(source, *arguments, status=2)
        nodes.stop(source, target)
        ctl(source, "list", status=1)


@test
def control_socket_is_the_users_alone_and_takes_any_bytes():
    with Nodes() as nodes:
        node = nodes.start(f"gpu0-{os.getpid()}")
        path = re.search(r"control: (\S+)", node.stderr()).group(1)
        check(stat.S_IMODE(os.stat(path).st_mode) == 0o600, oct(os.stat(path).st_mode))
        draw = random.Random(1)
        for line in (b"\n", b"{}\n", b"[]\n", b"null\n", b'{"request": 7}\n', b"{" * 5000 + b"\n",
                     b'{"request": "put"}\n', b'{"request": "put", "name": "x"}\n',
                     b'{"request": "copy", "name": "x"}\n', b'{"request": "get", "name": ["x"]}\n',
                     b'{"request": "stop"}\n', b"x" * 70000, draw.randbytes(1000) + b"\n"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                with contextlib.suppress(OSError):
                    client.sendall(line)
                    client.shutdown(socket.SHUT_WR)
                answer = b""
                with contextlib.suppress(ConnectionError):
                    while chunk := client.recv(65536):
                        answer += chunk
                check(not answer or "error" in json.loads(answer), f"{line[:40]}: {answer}")
        with Nodes() as more:  # of the same name
            second = Node(["--listen", "127.0.0.1:0", "--name", node.name, "--pool", "8M"])
            more.running.append(second)
            second.expect(2)
            check("runs already" in second.stderr(), second.stderr())
        node.signal(signal.SIGKILL)
        node.launcher.wait()
        nodes.stop(nodes.start(f"gpu0-{os.getpid()}"))  # over the socket that was left
        check(not os.path.exists(path), f"{path} is left")


@test
def sigterm_waits_for_a_copy_under_way_and_refuses_new_ones():
    with Nodes() as nodes:
        source, target = nodes.pair()
        ctl(source, "put", nodes.file("a", 1 << 20), "a")
        ctl(source, "copy", "a", target.address)
        ctl(target, "remove", "a")
        target.signal(signal.SIGSTOP)  # the copy waits for an answer
        copy = ctl_background(source, "copy", "a", target.address)
        until(lambda: objects(source)["a"]["state"] == "being read", "the copy to begin")
        source.launcher.terminate()
        source.said("draining: 1 transfers are under way")
        said = ctl(source, "put", nodes.path("a"), "b", status=1)
        check("draining" in said, said)
        said = ctl(source, "copy", "a", target.address, status=1)
        check("draining" in said, said)
        target.signal(signal.SIGCONT)
        check(copy.wait(PATIENCE) == 0, copy.stdout.read())
        source.expect(0)
        ctl(target, "get", "a", nodes.path("back"))
        check(filecmp.cmp(nodes.path("a"), nodes.path("back"), shallow=False), "bytes differ")
        nodes.stop(target)


@test
def a_second_signal_and_the_drain_timeout_do_not_wait():
    with Nodes() as nodes:
        for options in ((), ("--drain-timeout", "0.5")):
            target = nodes.start(f"gpu1-{os.getpid()}")
            source = nodes.start(f"gpu0-{os.getpid()}", "--peer", target.address, *options)
            ctl(source, "put", nodes.file("a", 1 << 20), "a")
            target.signal(signal.SIGSTOP)
            copy = ctl_background(source, "copy", "a", target.address)
            until(lambda: objects(source)["a"]["state"] == "being read", "the copy to begin")
            began = time.monotonic()
            source.launcher.terminate()
            source.said("draining")
            if not options:
                source.launcher.terminate()
            source.expect(1)
            check(time.monotonic() - began < 4, "it waited")
            check(copy.wait(PATIENCE) == 1 and "went away" in copy.stdout.read(), "the copy")
            target.end()


@test
def drained_node_keeps_what_it_holds_and_refuses_peers():
    with Nodes() as nodes:
        source, target = nodes.pair()
        ctl(source, "put", nodes.file("a", 1000), "a")
        ctl(source, "copy", "a", target.name)
        ctl(source, "put", nodes.path("a"), "b")
        ctl(target, "drain")
        said = ctl(source, "copy", "b", target.name, status=1)
        check(f"peer {target.name} refuses" in said and "draining" in said, said)
        ctl(target, "get", "a", nodes.path("back"))
        nodes.stop(source, target)


@test
def killed_target_ends_a_copy_with_its_name_and_a_new_one_is_found():
    with Nodes() as nodes:
        source, target = nodes.pair()
        ctl(source, "put", nodes.file("a", OBJECT), "a")
        for _ in range(5):  # a copy may be over before the kill
            copy = ctl_background(source, "copy", "a", target.address)
            until(lambda: copy.poll() is not None or is_being_written(target, "a"), "the copy")
            target.signal(signal.SIGKILL)
            killed = time.monotonic()
            target.launcher.wait()
            status = copy.wait(PATIENCE)
            took = time.monotonic() - killed
            said = copy.stdout.read()
            check(took < 8, f"took {took:.1f} s: {said}")
            target = nodes.start(target.name, listen=target.address)
            if status == 1:
                break
        check(status == 1, "no copy was met under way")
        check(f"peer {target.name}" in said, said)
        ctl(source, "copy", "a", target.address)  # over a new connection
        ctl(target, "get", "a", nodes.path("back"))
        check(filecmp.cmp(nodes.path("a"), nodes.path("back"), shallow=False), "bytes differ")
        nodes.stop(source, target)


@test
def killed_source_leaves_no_half_object_and_no_blocks():
    prefix = f"kvr-{os.getpid()}"
    with Nodes() as nodes:
        target = nodes.start(f"gpu1-{os.getpid()}", eal=["--file-prefix", prefix])
        free = free_blocks(prefix)
        source = nodes.start(f"gpu0-{os.getpid()}", "--peer", target.address)
        ctl(source, "put", nodes.file("a", OBJECT), "a")
        for _ in range(5):
            copy = ctl_background(source, "copy", "a", target.address)
            until(lambda: copy.poll() is not None or is_being_written(target, "a"), "the copy")
            source.signal(signal.SIGSTOP)
            if is_being_written(target, "a"):
                break
            source.signal(signal.SIGCONT)
            check(copy.wait(PATIENCE) == 0, copy.stdout.read())
            ctl(target, "remove", "a")
        check(is_being_written(target, "a"), "no copy was met under way")
        check(free_blocks(prefix) < free, "no blocks were taken")
        source.signal(signal.SIGKILL)
        check(copy.wait(PATIENCE) == 1 and "went away" in copy.stdout.read(), "the copy")
        until(lambda: "a" not in objects(target), "the half object to go")
        check(free_blocks(prefix) == free, f"{free_blocks(prefix)} of {free} blocks are free")
        nodes.stop(target)


def write_config(path, *lines):
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


@test
def sighup_reads_the_peers_anew_and_a_bad_file_changes_nothing():
    with Nodes() as nodes:
        path = nodes.path("node.conf")
        target = nodes.start(f"gpu1-{os.getpid()}")
        base = ["# a node", "block = 4K  # small", "peer = 127.0.0.1:1"]
        write_config(path, *base)
        source = nodes.start(f"gpu0-{os.getpid()}", "--config", path)

        def addresses():
            peers = json.loads(ctl(source, "peers", "--json"))["peers"]
            return {peer["address"] for peer in peers}

        check(addresses() == {"127.0.0.1:1"}, f"{addresses()}")
        write_config(path, *base, f"peer = {target.address}")
        source.launcher.send_signal(signal.SIGHUP)
        until(lambda: addresses() == {"127.0.0.1:1", target.address}, "the new peer")
        ctl(source, "put", nodes.file("a", 5000), "a")
        check(objects(source)["a"]["blocks"] == 2, "blocks are not 4K")
        ctl(source, "copy", "a", target.address)
        write_config(path, *base, "pear = 127.0.0.1:2")
        source.launcher.send_signal(signal.SIGHUP)
        source.said(rf"{re.escape(path)}:4: unknown key 'pear'")
        source.said("all stays as it was")
        check(addresses() == {"127.0.0.1:1", target.address}, f"{addresses()}")
        write_config(path, "block = 8K")
        source.launcher.send_signal(signal.SIGHUP)
        source.said("needs a restart")
        until(lambda: addresses() == set(), "the peers to go")
        said = ctl(source, "copy", "a", target.address, status=1)
        check("no peer" in said, said)
        nodes.stop(source, target)


@test
def command_line_wins_over_the_file():
    with Nodes() as nodes:
        path = nodes.path("node.conf")
        write_config(path, "name=loser", "pool =8M", "listen = 127.0.0.1:1", "",
                     "peer = 127.0.0.1:1", "\t# indented", "timeout = 2.5", "insecure = no")
        node = nodes.start(f"winner-{os.getpid()}", "--config", path, "--peer", "127.0.0.1:2")
        peers = json.loads(ctl(node, "peers", "--json"))["peers"]
        check([peer["address"] for peer in peers] == ["127.0.0.1:2"], f"{peers}")
        nodes.stop(node)
    checked("--config", os.path.join(os.path.dirname(__file__), "../../config/node.conf"))


@test
def systemd_is_told_and_the_journal_gets_priorities():
    with Nodes() as nodes, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(nodes.path("notify"))
        notify.settimeout(PATIENCE)
        node = nodes.start(f"gpu0-{os.getpid()}",
                           env={"NOTIFY_SOCKET": nodes.path("notify"), "WATCHDOG_USEC": "300000"})
        said = notify.recv(4096).decode()
        check(said.startswith("READY=1\n") and node.address in said, said)
        check(notify.recv(4096) == b"WATCHDOG=1", "no watchdog")
        node.launcher.terminate()
        while (said := notify.recv(4096)) == b"WATCHDOG=1":
            pass
        check(said == b"STOPPING=1", f"{said}")
        node.expect(0)
        with open(nodes.path("log"), "w+") as log:
            inode = os.fstat(log.fileno())
            stream = f"{inode.st_dev}:{inode.st_ino}"
            node = subprocess.Popen(
                [SOFTNIC, *DEVICES, "--instance", INSTANCE, "--", NODE, *EAL, "--",
                 "--listen", "127.0.0.1:0", "--name", f"gpu2-{os.getpid()}", "--pool", "8M"],
                stdout=subprocess.PIPE, stderr=log, env={**os.environ, "JOURNAL_STREAM": stream})
            node.stdout.readline()
            node.terminate()
            check(node.wait(PATIENCE) == 0, "exit status")
            log.seek(0)
            text = log.read()
            check(re.search(r"^<6>kvrail: control: ", text, re.M), text)
            check(re.search(r"^<5>kvrail: drained$", text, re.M), text)


def checked(*options, devices=(), before=(), eal=("-l", "0,1")):
    """What kvrail-node --check says: {subject: (level, text)}; its exit status is the worst's."""
    done = subprocess.run([*before, SOFTNIC, "--devices", "2", "--instance", INSTANCE, *devices,
                           "--", NODE, *eal, "--", "--check", *options],
                          timeout=PATIENCE, capture_output=True, text=True)
    lines = re.findall(r"^(ok|warn|fail) +(.*?): (.*)$", done.stdout, re.M)
    levels = {level for level, _, _ in lines}
    check(lines and done.returncode == (1 if "fail" in levels else 3 if "warn" in levels else 0),
          f"exit {done.returncode}: {done.stdout}{done.stderr}")
    return {subject: (level, text) for level, subject, text in lines}


@test
def check_names_what_is_wrong_and_how_to_mend_it():
    good = checked("--pool", "64M")
    for subject, (level, text) in good.items():  # the last three are this machine's
        check(level == "ok" or subject in ("isolation", "governor", "memlock"),
              f"{subject}: {text}")
    for subject in ("mlx5_0 numa", "mlx5_1 link", "mlx5_0 mtu", "mlx5_0 gid", "mlx5_1 iommu",
                    "mlx5_0 acs", "memlock", "hugepages node0", "lcores", "governor"):
        check(subject in good, f"no line for {subject}: {list(good)}")
    check("3 (the first RoCE v2 with an IPv4" in good["mlx5_0 gid"][1], good["mlx5_0 gid"][1])

    bad = checked("--pool", "64M", devices=["--device", "mlx5_1:numa=1,ro=off,mtu=1024"])
    for subject, words in (("numa", "node 1"), ("relaxed ordering", "setpci -s 5150:02:00.0"),
                           ("mtu", "1024 of 4096: ip link set")):
        level, text = bad[f"mlx5_1 {subject}"]
        check(level == "warn" and words in text, f"{subject}: {text}")
        check(bad[f"mlx5_0 {subject}"][0] == "ok", f"{bad}")

    huge = checked("--pool", "node0=9T")
    check(huge["hugepages node0"][0] == "fail" and "echo " in huge["hugepages node0"][1], f"{huge}")
    few = checked("--pool", "64M", before=["prlimit", "--memlock=65536"])
    check(few["memlock"][0] == "warn" and "CAP_IPC_LOCK" in few["memlock"][1], f"{few}")
    none = checked("--pool", "64M", before=["setpriv", "--bounding-set=-ipc_lock", "prlimit",
                                               "--memlock=65536"])
    check(none["memlock"][0] == "fail" and "ulimit -l" in none["memlock"][1], f"{none}")
    one = checked("--pool", "64M", eal=("-l", "0"))
    check(one["lcores"][0] == "fail" and "-l 0,1" in one["lcores"][1], f"{one}")


@test
def check_reads_what_sysfs_says_of_pci_express():
    # The instance's own sysfs, which is files, made to tell of another machine.
    sleeper = subprocess.Popen([SOFTNIC, "--devices", "2", "--instance", INSTANCE, "--", "cat"],
                               stdin=subprocess.PIPE)
    try:
        until(lambda: glob.glob(f"/dev/shm/softnic*{INSTANCE}*/sys/devices/*/*:02.0/*:02:00.0"),
              "the instance")
        function, = glob.glob(f"/dev/shm/softnic*{INSTANCE}*/sys/devices/*/*:02.0/*:02:00.0")
        bridge = os.path.dirname(function)
        os.mkdir(f"{function}/iommu_group")
        for path, text in (("iommu_group/type", "DMA-FQ"), ("current_link_width", "8")):
            with open(f"{function}/{path}", "w") as file:
                file.write(text + "\n")
        config = bytearray(4096)
        config[0x100:0x104] = (0x0001 | 1 << 16 | 0x140 << 20).to_bytes(4, "little")
        config[0x140:0x144] = (0x000d | 1 << 16).to_bytes(4, "little")
        config[0x146] = 0x04  # ACS control: requests are redirected
        with open(f"{bridge}/config", "wb") as file:
            file.write(config)
        found = checked("--pool", "64M")
        for subject, words in (("iommu", "iommu=pt"), ("link", "and can 32.0 GT/s PCIe x16"),
                               ("acs", f"setpci -s {os.path.basename(bridge)} ECAP_ACS+6.w=0")):
            level, text = found[f"mlx5_1 {subject}"]
            check(level == "warn" and words in text, f"{subject}: {text}")
            check(found[f"mlx5_0 {subject}"][0] == "ok", f"{found}")
    finally:
        sleeper.stdin.close()
        sleeper.wait(PATIENCE)


@test
def bad_lines_exit_2_with_one_line_that_names_the_value():
    good = ["--listen", "127.0.0.1:0", "--pool", "8M"]
    with Nodes() as nodes:
        path = nodes.path("node.conf")
        for options, word in (
                (good[:2], "--pool"), (good[2:], "--listen"), ([*good, "stray"], "stray"),
                ([*good, "--pool", "12Q"], "12Q"), ([*good, "--pool", "node0=8M,node0=8M"], "node0"),
                ([*good, "--pool", "node99=8M"], "node99"), ([*good, "--pool", "node7=8M"], "node7"),
                ([*good, "--pool", "4K"], "smaller"), ([*good, "--block", "0"], "0"),
                ([*good, "--listen", "nowhere"], "nowhere"), ([*good, "--peer", "x:y"], "x:y"),
                ([*good, "--listen", "0.0.0.0:0"], "--insecure"),
                ([*good, "--peer", "a:1", "--peer", "a:1"], "second"),
                ([*good, "--name", "a/b"], "a/b"), ([*good, "--timeout", "soon"], "soon"),
                ([*good, "--no-such-option"], "no-such-option"),
                ([*good, "--device-name", "mlx5_9"], "mlx5_9"),
                ([*good, "--config", nodes.path("none")], nodes.path("none"))):
            node = Node(options)
            nodes.running.append(node)
            node.expect(2)
            said = [line for line in node.stderr().splitlines() if line.startswith("kvrail-node:")]
            check(len(said) == 1 and word in said[0], f"{options}: {node.stderr()}")
        for line, word in (("pear = x", "unknown key 'pear'"), ("pool", "not `key = value`"),
                           ("pool = 3Q", "3Q"), ("listen = a:b", "a:b"), ("check = yes", "check"),
                           ("cross-numa = maybe", "maybe"), ("config = x", "config"),
                           ("block = 4K\nblock = 8K", "second")):
            write_config(path, "# first", line)
            node = Node([*good, "--config", path])
            nodes.running.append(node)
            node.expect(2)
            number = 2 + line.count("\n")
            check(node.stderr().startswith(f"kvrail-node: {path}:{number}: ") and
                  word in node.stderr(), f"{line}: {node.stderr()}")
        node = Node([*good, "--listen", "0.0.0.0:0", "--insecure", "--name", f"open-{os.getpid()}"])
        nodes.running.append(node)
        node.listening()
        check("other hosts reach this node" in node.stderr(), node.stderr())
        nodes.stop(node)


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
