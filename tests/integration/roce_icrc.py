#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Checks the ICRC of every RoCEv2 packet of a pcap file of Ethernet frames, by IBA annex A17.3.3 and
zlib alone.

    roce_icrc.py FILE
"""
import struct
import sys
import zlib


def frames(path):
    with open(path, "rb") as file:
        order = "<" if file.read(24)[:4] == b"\xd4\xc3\xb2\xa1" else ">"
        while head := file.read(16):
            yield file.read(struct.unpack(order + "4I", head)[2])


def is_right(ip):
    masked = bytearray(ip[:-4])
    masked[1] = 0xFF  # TOS
    masked[8] = 0xFF  # TTL
    masked[10:12] = b"\xff\xff"  # its checksum
    masked[26:28] = b"\xff\xff"  # UDP's
    masked[32] = 0xFF  # BTH, resv8a
    return zlib.crc32(b"\xff" * 8 + masked) == int.from_bytes(ip[-4:], "little")


def main():
    n = n_wrong = 0
    for frame in frames(sys.argv[1]):
        ip = frame[14:14 + int.from_bytes(frame[16:18], "big")]
        n += 1
        n_wrong += not is_right(ip)
    print(f"{n} packets, {n_wrong} with a wrong ICRC")
    return 0 if n and not n_wrong else 1


sys.exit(main())
