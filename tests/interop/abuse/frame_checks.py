"""Frames that are none, that lie about their length, or that come in more pieces than there is sense in."""

import os
import random
import struct
import time
import zlib

from attacker import BINARY, CLOSE, FIN, PING, PONG, RSV1, TEXT, Client, Cut, frame
from registry import check

MIB = 1 << 20


def fails_with(server, data, *codes):
    """The connection is failed with one of these codes, and ends."""
    with Client(server.address) as client:
        try:
            client.send(data)
        except Cut:
            pass
        code = client.close_code()
        if code not in codes:
            raise AssertionError(f"{data[:24]!r} is answered with {code}")
        client.ends_within(10)


def announced(opcode, length, first=None):
    """The head of a frame, and nothing behind it."""
    return struct.pack("!BBQ4x", FIN | opcode if first is None else first, 0xFF, length)


@check("a length with the top bit set is refused from its head alone")
def length_top_bit(server):
    fails_with(server, announced(TEXT, 1 << 63), 1002, 1009)


@check("a length of 2^62 is refused from its head alone")
def length_2_62_refused(server):
    fails_with(server, announced(BINARY, 1 << 62), 1009)


@check("lengths at which sums wrap are refused from their heads alone")
def length_wraps_refused(server):
    for length in ((1 << 63) - 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1):
        fails_with(server, announced(BINARY, length), 1002, 1009)
    # And where something has come before.
    begun = frame(TEXT, b"x" * 1000, first=TEXT)
    fails_with(server, begun + announced(0, (1 << 63) - 1), 1002, 1009)


@check("what is announced is not allocated", grows=8)
def announced_length_not_allocated(server):
    clients = [Client(server.address) for _ in range(20)]
    for client in clients:
        # As much as a message may be.
        client.send(frame(BINARY, b"", length=10 * MIB) + b"x" * 1000)
    time.sleep(0.5)
    for client in clients:
        client.close()


def in_pieces(server, piece, count):
    """A message in so many pieces comes back as one."""
    with Client(server.address) as client:
        client.send(frame(TEXT, b"", first=TEXT))
        pieces = frame(0, piece, first=0) * 1000
        for _ in range(count // 1000):
            client.send(pieces)
        client.send(frame(0, b"end", first=FIN))
        if client.message() != piece * count + b"end":
            raise AssertionError("it came back as something else")


@check("a hundred thousand fragments are one message", grows=32)
def fragments_100k(server):
    in_pieces(server, b"x", 100_000)


@check("a million empty fragments cost nothing", grows=16)
def empty_fragments_flood(server):
    in_pieces(server, b"", 1_000_000)


@check("fragments that sum up to more than a message may be are refused", grows=32)
def fragments_above_the_limit(server):
    with Client(server.address) as client:
        client.send(frame(BINARY, b"", first=BINARY))
        try:
            for _ in range(12):
                client.send(frame(0, bytes(MIB), first=0))
        except Cut:
            pass
        code = client.close_code()
        if code != 1009:
            raise AssertionError(f"answered with {code}")


@check("a frame that is not masked is refused")
def unmasked_frame_1002(server):
    fails_with(server, frame(TEXT, b"hello", mask=None), 1002)


@check("reserved bits are refused")
def rsv_bits_1002(server):
    for bits in (0x20, 0x10, 0x30, 0x70):
        fails_with(server, frame(TEXT, b"hello", first=FIN | bits | TEXT), 1002)
    fails_with(server, frame(PING, b"", first=FIN | RSV1 | PING), 1002)
    if not server.address.deflate:
        fails_with(server, frame(TEXT, b"hello", first=FIN | RSV1 | TEXT), 1002)


@check("reserved opcodes are refused")
def reserved_opcodes_1002(server):
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        fails_with(server, frame(opcode, b""), 1002)


@check("control frames that are long, or in pieces, are refused")
def bad_control_frames_1002(server):
    for opcode in (PING, PONG, CLOSE):
        fails_with(server, frame(opcode, b"x" * 126), 1002)
        fails_with(server, frame(opcode, b"", first=opcode), 1002)


@check("fragments in the wrong order are refused")
def bad_fragmentation_1002(server):
    for data in (frame(0, b"x"), frame(TEXT, b"x", first=TEXT) + frame(TEXT, b"x"),
                 frame(TEXT, b"x", first=TEXT) + frame(BINARY, b"x", first=BINARY), frame(TEXT, b"x") + frame(0, b"x")):
        fails_with(server, data, 1002)


@check("text that is not UTF-8 is refused")
def utf8_invalid_1007(server):
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"hello\xe2\x82", b"x" * 100_000 + b"\xc3\x28"):
        fails_with(server, frame(TEXT, bad), 1007)


@check("text that cannot become UTF-8 any more is refused before its end")
def utf8_fail_fast_1007(server):
    fails_with(server, frame(TEXT, b"hello \xed\xa0", first=TEXT), 1007)
    fails_with(server, frame(TEXT, b"\xf5 and much more", length=100_000), 1007)


@check("a close frame of one octet is refused")
def close_one_byte_1002(server):
    fails_with(server, frame(CLOSE, b"\x03"), 1002)


@check("close codes that must not be sent are refused")
def close_bad_codes_1002(server):
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535):
        fails_with(server, frame(CLOSE, struct.pack("!H", code)), 1002)


@check("a reason that is not UTF-8 is refused")
def close_bad_utf8_1007(server):
    fails_with(server, frame(CLOSE, struct.pack("!H", 1000) + b"\xff\xfe"), 1007)


@check("what comes behind a close is not heard")
def data_after_close_ignored(server):
    with Client(server.address) as client:
        client.send(frame(CLOSE, struct.pack("!H", 1000)) + frame(TEXT, b"late") + frame(PING, b"late"))
        first, payload = client.frame()
        if first & 15 != CLOSE or payload != struct.pack("!H", 1000):
            raise AssertionError(f"answered {first:x} {payload!r}")
        try:
            first, payload = client.frame()
        except Cut:
            return
        raise AssertionError(f"{first:x} {payload!r} comes behind the close")


@check("segments of one octet make the same messages")
def one_byte_segments(server):
    with Client(server.address) as client:
        for octet in frame(TEXT, "Grüße".encode(), first=TEXT) + frame(PING, b"p") + frame(0, b", 1", first=FIN):
            client.send(bytes([octet]))
        if client.message() != "Grüße, 1".encode():
            raise AssertionError("it came back as something else")


@check("a million pongs that nobody has asked for cost nothing", grows=2)
def pong_flood(server):
    with Client(server.address) as client:
        pongs, busy = frame(PONG, b"x") * 10_000, server.computed()
        for _ in range(100):
            client.send(pongs)
        client.echoes()
        server.figures["a pong that nobody has asked for"] = f"{(server.computed() - busy) * 1e3:.0f} ns of CPU"


@check("ten thousand messages at once come back in order")
def burst_in_order(server):
    with Client(server.address) as client:
        for start in range(0, 10_000, 500):
            client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(start, start + 500)))
            for number in range(start, start + 500):
                if client.message() != b"%d" % number:
                    raise AssertionError(f"{number} is missing")


@check("nonsense of any kind ends only its own connection", grows=16)
def fuzz_2000(server):
    chance = random.Random(server.seed)
    for _ in range(2000 if not server.address.tls else 300):
        with Client(server.address) as client:
            kind = chance.randrange(4)
            if kind == 0:
                data = os.urandom(chance.randrange(300))
            else:
                data = frame(chance.randrange(16), chance.randbytes(chance.randrange(200)), mask=chance.randbytes(4))
                data = bytearray(data + frame(TEXT, b"more"))
                for _ in range(kind - 1):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            try:
                client.send(bytes(data))
            except Cut:
                pass


def deflated(data, level=9):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@check("a bomb is refused, and costs no more than a message may", grows=64, modes=("deflate",))
def deflate_bomb(server):
    with Client(server.address) as client:
        client.send(frame(BINARY, deflated(bytes(256 * MIB)), first=FIN | RSV1 | BINARY))
        if client.close_code() != 1009:
            raise AssertionError("taken")


@check("bad streams fail the connection", modes=("deflate",))
def deflate_garbage(server):
    for bad in (b"\xff" * 100, b"\x06", deflated(b"hello")[:-2] + b"\xff\xff\xff", bytes(300)):
        with Client(server.address) as client:
            client.send(frame(TEXT, bad, first=FIN | RSV1 | TEXT))
            code = client.close_code()
            if code != 1007:
                raise AssertionError(f"{bad[:10]!r} is answered with {code}")
    # Empty blocks are a message, and so is one that ends its stream.
    with Client(server.address) as client:
        client.send(frame(TEXT, b"\0", first=FIN | RSV1 | TEXT))
        if client.message() != b"":
            raise AssertionError("an empty block is no empty message")


@check("contexts are released with their connections", grows=16, modes=("deflate",))
def deflate_contexts_released(server):
    text = b"all the same " * 400
    for _ in range(10):
        clients = [Client(server.address) for _ in range(50)]
        for client in clients:
            client.send(frame(TEXT, deflated(text), first=FIN | RSV1 | TEXT))
        for client in clients:
            if client.message() != text:
                raise AssertionError("it came back as something else")
            client.close()
