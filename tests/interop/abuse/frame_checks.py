"""Invalid frames, wrong lengths, excessive fragmentation and malformed compressed data."""

import os
import random
import struct
import time
import zlib

from attacker import BINARY, CLOSE, FIN, PING, PONG, RSV1, TEXT, Client, Disconnected, frame
from registry import check

MIB = 1 << 20


def fails_with(server, data, *codes):
    """Checks that the server fails the connection with one of these close codes and disconnects."""
    with Client(server.address) as client:
        try:
            client.send(data)
        except Disconnected:
            pass
        code = client.close_code()
        if code not in codes:
            raise AssertionError(f"{data[:24]!r} is answered with close code {code}")
        client.check_end_within(10)


def header_only(opcode, length, first=None):
    """A frame header without the payload that it announces."""
    return struct.pack("!BBQ4x", FIN | opcode if first is None else first, 0xFF, length)


@check("a payload length with the top bit set is refused as soon as the header arrives")
def length_top_bit(server):
    fails_with(server, header_only(TEXT, 1 << 63), 1002, 1009)


@check("a payload length of 2^62 is refused as soon as the header arrives")
def length_2_62_refused(server):
    fails_with(server, header_only(BINARY, 1 << 62), 1009)


@check("payload lengths that can overflow a sum are refused as soon as the header arrives")
def length_wraps_refused(server):
    for length in ((1 << 63) - 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1):
        fails_with(server, header_only(BINARY, length), 1002, 1009)
    # The same with a buffered fragment to add to.
    fragment = frame(TEXT, b"x" * 1000, first=TEXT)
    fails_with(server, fragment + header_only(0, (1 << 63) - 1), 1002, 1009)


@check("an announced payload length is not allocated in advance", max_growth=8)
def announced_length_not_allocated(server):
    clients = [Client(server.address) for _ in range(20)]
    for client in clients:
        # The length is within the message limit.
        client.send(frame(BINARY, b"", length=10 * MIB) + b"x" * 1000)
    time.sleep(0.5)
    for client in clients:
        client.close()


def check_fragments(server, piece, count):
    """Checks that a message of `count` fragments is echoed as one message."""
    with Client(server.address) as client:
        client.send(frame(TEXT, b"", first=TEXT))
        fragments = frame(0, piece, first=0) * 1000
        for _ in range(count // 1000):
            client.send(fragments)
        client.send(frame(0, b"end", first=FIN))
        if client.message() != piece * count + b"end":
            raise AssertionError("the echo differs from the message")


@check("100,000 fragments are one message", max_growth=32)
def fragments_100k(server):
    check_fragments(server, b"x", 100_000)


@check("a million empty fragments accumulate no memory", max_growth=16)
def empty_fragments_flood(server):
    check_fragments(server, b"", 1_000_000)


@check("fragments whose total length exceeds the message limit are refused", max_growth=32)
def fragments_above_the_limit(server):
    with Client(server.address) as client:
        client.send(frame(BINARY, b"", first=BINARY))
        try:
            for _ in range(12):
                client.send(frame(0, bytes(MIB), first=0))
        except Disconnected:
            pass
        code = client.close_code()
        if code != 1009:
            raise AssertionError(f"the close code is {code}")


@check("an unmasked frame is refused")
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


@check("control frames over 125 bytes and fragmented control frames are refused")
def bad_control_frames_1002(server):
    for opcode in (PING, PONG, CLOSE):
        fails_with(server, frame(opcode, b"x" * 126), 1002)
        fails_with(server, frame(opcode, b"", first=opcode), 1002)


@check("a continuation without a message, and a new message inside a fragmented message, are refused")
def bad_fragmentation_1002(server):
    for data in (frame(0, b"x"), frame(TEXT, b"x", first=TEXT) + frame(TEXT, b"x"),
                 frame(TEXT, b"x", first=TEXT) + frame(BINARY, b"x", first=BINARY), frame(TEXT, b"x") + frame(0, b"x")):
        fails_with(server, data, 1002)


@check("text that is not UTF-8 is refused")
def utf8_invalid_1007(server):
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"hello\xe2\x82",
                b"x" * 100_000 + b"\xc3\x28"):
        fails_with(server, frame(TEXT, bad), 1007)


@check("text is refused at the first byte that makes it invalid UTF-8, before its end")
def utf8_fail_fast_1007(server):
    fails_with(server, frame(TEXT, b"hello \xed\xa0", first=TEXT), 1007)
    fails_with(server, frame(TEXT, b"\xf5 and much more", length=100_000), 1007)


@check("a close frame with a payload of one byte is refused")
def close_one_byte_1002(server):
    fails_with(server, frame(CLOSE, b"\x03"), 1002)


@check("reserved and invalid close codes are refused")
def close_bad_codes_1002(server):
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535):
        fails_with(server, frame(CLOSE, struct.pack("!H", code)), 1002)


@check("a close reason that is not UTF-8 is refused")
def close_bad_utf8_1007(server):
    fails_with(server, frame(CLOSE, struct.pack("!H", 1000) + b"\xff\xfe"), 1007)


@check("frames after a close frame are ignored")
def data_after_close_ignored(server):
    with Client(server.address) as client:
        client.send(frame(CLOSE, struct.pack("!H", 1000)) + frame(TEXT, b"late") + frame(PING, b"late"))
        first, payload = client.frame()
        if first & 15 != CLOSE or payload != struct.pack("!H", 1000):
            raise AssertionError(f"the response is {first:x} {payload!r}")
        try:
            first, payload = client.frame()
        except Disconnected:
            return
        raise AssertionError(f"{first:x} {payload!r} follows the close frame")


@check("messages that arrive byte by byte are decoded")
def one_byte_segments(server):
    with Client(server.address) as client:
        for octet in frame(TEXT, "Grüße".encode(), first=TEXT) + frame(PING, b"p") + frame(0, b", 1", first=FIN):
            client.send(bytes([octet]))
        if client.message() != "Grüße, 1".encode():
            raise AssertionError("the echo differs from the message")


@check("a million unsolicited pongs accumulate no memory", max_growth=2)
def pong_flood(server):
    with Client(server.address) as client:
        pongs, used = frame(PONG, b"x") * 10_000, server.cpu_seconds()
        for _ in range(100):
            client.send(pongs)
        client.check_echo()
        server.figures["an unsolicited pong"] = f"{(server.cpu_seconds() - used) * 1e3:.0f} ns of CPU"


@check("10,000 messages in bursts are echoed in order")
def burst_in_order(server):
    with Client(server.address) as client:
        for start in range(0, 10_000, 500):
            client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(start, start + 500)))
            for number in range(start, start + 500):
                if client.message() != b"%d" % number:
                    raise AssertionError(f"{number} is missing")


@check("random bytes and mutated frames affect only their own connection", max_growth=16)
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
            except Disconnected:
                pass


def deflated(data, level=9):
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@check("a compression bomb is refused within the message limit", max_growth=64, modes=("deflate",))
def deflate_bomb(server):
    with Client(server.address) as client:
        client.send(frame(BINARY, deflated(bytes(256 * MIB)), first=FIN | RSV1 | BINARY))
        code = client.close_code()
        if code != 1009:
            raise AssertionError(f"the close code is {code}")


@check("invalid compressed data fails the connection", modes=("deflate",))
def deflate_garbage(server):
    for bad in (b"\xff" * 100, b"\x06", deflated(b"hello")[:-2] + b"\xff\xff\xff", bytes(300)):
        with Client(server.address) as client:
            client.send(frame(TEXT, bad, first=FIN | RSV1 | TEXT))
            code = client.close_code()
            if code != 1007:
                raise AssertionError(f"{bad[:10]!r} is answered with close code {code}")
    # An empty block is a valid, empty message.
    with Client(server.address) as client:
        client.send(frame(TEXT, b"\0", first=FIN | RSV1 | TEXT))
        if client.message() != b"":
            raise AssertionError("an empty block is not decoded as an empty message")


@check("compression contexts are released with their connections", max_growth=16, modes=("deflate",))
def deflate_contexts_released(server):
    text = b"all the same " * 400
    for _ in range(10):
        clients = [Client(server.address) for _ in range(50)]
        for client in clients:
            client.send(frame(TEXT, deflated(text), first=FIN | RSV1 | TEXT))
        for client in clients:
            if client.message() != text:
                raise AssertionError("the echo differs from the message")
            client.close()
