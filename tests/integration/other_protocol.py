#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""kvrail-bench and a peer that speaks another protocol: each side says both versions in one line.

    other_protocol.py SOFTNIC KVRAIL_BENCH
"""
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

SOFTNIC, BENCH = (os.path.abspath(path) for path in sys.argv[1:3])
EAL = ["-l", "0,1", "--in-memory", "--single-file-segments", "--iova-mode=va"]
OTHER = 7
PATIENCE = 30


def start(*options):
    out = tempfile.TemporaryFile("w+")
    process = subprocess.Popen(
        [SOFTNIC, "--instance", f"other-protocol-{os.getpid()}", "--", BENCH, *EAL, "--",
         "--buffer-size=16M", *options], stdin=subprocess.DEVNULL, stdout=out,
        stderr=subprocess.STDOUT)
    return process, out


def text(file):
    # the file's own offset is where the process writes
    with open(f"/proc/self/fd/{file.fileno()}") as again:
        return again.read()


def send(connection, message):
    body = json.dumps(message).encode()
    connection.sendall(struct.pack(">I", len(body)) + body)


def receive(connection):
    size, = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
    return json.loads(connection.recv(size, socket.MSG_WAITALL))


def initiator_against(answer):
    """What the initiator says to a target that answers its hello so; it must exit 2."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        process, out = start("--mode=initiator",
                             "--segment-id=127.0.0.1:%d" % listener.getsockname()[1])
        try:
            connection, _ = listener.accept()
            with connection:
                hello = receive(connection)
                send(connection, {**answer(hello["protocol"]), "id": hello["id"]})
                status = process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    assert status == 2, f"exit {status}: {text(out)}"
    said = [line for line in text(out).splitlines() if line.startswith("kvrail-bench:")]
    assert len(said) == 1, text(out)
    return said[0], hello["protocol"]


def initiator_names_both_versions():
    line, ours = initiator_against(lambda _: {"type": "hello", "protocol": OTHER})
    assert re.search(rf"\b{OTHER}\b.*\b{ours}$", line), line


def initiator_passes_on_why_it_is_refused():
    line, ours = initiator_against(lambda theirs: {
        "type": "refused", "reason": f"protocol {theirs} is yours, {OTHER} is mine"})
    assert line.endswith(f"protocol {ours} is yours, {OTHER} is mine"), line


def target_refuses_and_goes_on():
    process, out = start("--mode=target")
    try:
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(r"^listening on (\S+):(\d+)$", text(out), re.M)):
            assert process.poll() is None and time.monotonic() < deadline, text(out)
            time.sleep(0.02)
        for _ in range(2):
            with socket.create_connection((match[1], int(match[2])), PATIENCE) as connection:
                send(connection, {"type": "hello", "protocol": OTHER, "id": 1})
                answer = receive(connection)
                assert answer["type"] == "refused" and answer["id"] == 1, answer
                assert re.search(rf"\b{OTHER}\b is yours, \d+ is mine", answer["reason"]), answer
                assert connection.recv(1) == b"", "the connection stays open"
        lines = [line for line in text(out).splitlines() if "refused" in line]
        assert len(lines) == 2 and f"protocol {OTHER} " in lines[0], text(out)
    finally:
        process.terminate()
        status = process.wait(PATIENCE)
    assert status == 0, f"exit {status}: {text(out)}"


def main():
    tests = (initiator_names_both_versions, initiator_passes_on_why_it_is_refused,
             target_refuses_and_goes_on)
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
