# SPDX-License-Identifier: Apache-2.0
"""Protobuf's wire, read without a schema: enough to see what was sent, independent of the library that wrote it."""
import struct

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """A message as {number: [values]}: numbers, or bytes."""
    at, found = 0, {}
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = varint(data, at)
        elif kind == BYTES:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
            assert len(value) == length, "cut off"
        else:
            assert kind in (FIXED64, FIXED32), kind
            size = 8 if kind == FIXED64 else 4
            value, at = int.from_bytes(data[at:at + size], "little"), at + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def packed(values):
    """The numbers of a repeated field, packed or not."""
    numbers = []
    for value in values:
        at = 0
        while not isinstance(value, int) and at < len(value):
            number, at = varint(value, at)
            numbers.append(number)
        if isinstance(value, int):
            numbers.append(value)
    return numbers


def double(number):
    return struct.unpack("<d", struct.pack("<Q", number))[0]


def encoded(number, value):
    """A field: a number, a text or a message that is encoded already."""
    def plain(left):
        out = bytearray()
        while left > 127:
            out.append(left & 127 | 128)
            left >>= 7
        return bytes([*out, left])

    if isinstance(value, int):
        return plain(number << 3 | VARINT) + plain(value)
    data = value.encode() if isinstance(value, str) else value
    return plain(number << 3 | BYTES) + plain(len(data)) + data
