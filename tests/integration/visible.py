#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What --level promises of writes, where relaxed ordering is used to the full.

    visible.py SOFTNIC KVRAIL_BENCH

Each twentieth WRITE leaves cache lines behind when it completes (softnic --relaxed), and the target
looks at the memory as soon as a batch has ended. At level visible every byte must be there; at level
sent some must be missing, or this test could not tell one from the other.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

SOFTNIC, BENCH = (os.path.abspath(path) for path in sys.argv[1:3])
EAL = ["-l", "0,1", "--in-memory", "--single-file-segments", "--iova-mode=va"]
PATIENCE = 60
MISMATCH = re.compile(r"^kvrail-bench: verification failed: block \d+,", re.M)


class Node:
    def __init__(self, *options):
        self.out = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [SOFTNIC, "--devices", "2", "--instance", f"visible-{os.getpid()}", "--relaxed", "20",
             "--", BENCH, *EAL, "--", "--buffer-size=64M", *options],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT)

    def text(self):
        # the file's own offset is where the process writes
        with open(f"/proc/self/fd/{self.out.fileno()}") as again:
            return again.read()

    def address(self):
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(r"^listening on (\S+)$", self.text(), re.M)):
            assert self.process.poll() is None and time.monotonic() < deadline, self.text()
            time.sleep(0.02)
        return match[1]

    def end(self):
        """Stops it if it still runs; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)


def write(level):
    """Both nodes, ended, and their exit statuses: target, initiator."""
    target = Node("--mode=target")
    initiator = None
    try:
        initiator = Node("--mode=initiator", f"--segment-id={target.address()}",
                         "--operation=write", "--verify", f"--level={level}", "--duration=5",
                         "--batch-size=16", "--threads=2")
        initiator.process.wait(PATIENCE)
    finally:
        statuses = [node.end() for node in (target, initiator) if node]
    return target, initiator, statuses


def visible_is_there():
    target, initiator, statuses = write("visible")
    assert statuses == [0, 0], f"exit {statuses}: {target.text()}{initiator.text()}"


def sent_is_not_there_yet():
    target, initiator, statuses = write("sent")
    assert statuses == [1, 1], f"exit {statuses}: {target.text()}{initiator.text()}"
    for node in (target, initiator):
        assert MISMATCH.search(node.text()), node.text()


def main():
    tests = (visible_is_there, sent_is_not_there_yet)
    failed = 0
    for test in tests:
        try:
            test()
            print(f"ok    {test.__name__}")
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"FAIL  {test.__name__}: {error}")
    print(f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
