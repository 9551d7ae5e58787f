"""Python's zlib, which is zlib itself, at the far end of permessage-deflate: every window, with and without context takeover;
started by ../run.

    python3 peer.py DEDICATED_ECHO_URL SHARED_ECHO_URL
"""

import pathlib
import random
import socket
import struct
import sys
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from checks import check, equal, run  # noqa: E402

DEDICATED, SHARED = sys.argv[1:]
TAIL = b"\x00\x00\xff\xff"
DEADLINE = 20  # seconds, for each answer
BITS = range(9, 16)


class Connection:
    def __init__(self, url, offer):
        host, port = url.split("//")[1].rstrip("/").split(":")
        self.socket = socket.create_connection((host, int(port)), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall((f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                             f"Sec-WebSocket-Extensions: {offer}\r\n\r\n").encode())
        self.input = self.socket.makefile("rb")
        answer = {}
        while (line := self.input.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            answer[name.lower()] = value.strip()
        self.agreed = answer.get("sec-websocket-extensions")
        words = (self.agreed or "").replace(" ", "").split(";")
        given = dict(word.partition("=")[::2] for word in words)
        self.client_bits = int(given.get("client_max_window_bits", 15))
        self.server_bits = int(given.get("server_max_window_bits", 15))
        self.client_keeps = "client_no_context_takeover" not in given
        self.server_keeps = "server_no_context_takeover" not in given
        self.deflate = self.inflate = None
        self.sent = self.received = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.input.close()
        self.socket.close()

    def frame(self, first, payload):
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", first, 0x80 | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", first, 0xFE, length)
        else:
            head = struct.pack("!BBQ", first, 0xFF, length)
        self.socket.sendall(head + bytes(4) + payload)  # masked by zeros

    def send(self, message, level=6, pieces=1, flush=zlib.Z_SYNC_FLUSH):
        if self.deflate is None or not self.client_keeps:
            self.deflate = zlib.compressobj(level, zlib.DEFLATED, -max(self.client_bits, 9))
        deflated = (self.deflate.compress(message) + self.deflate.flush(flush)).removesuffix(TAIL)
        step = -(-len(deflated) // pieces) or 1
        cuts = range(0, len(deflated), step)
        for at in cuts:
            first = (0x42 if at == 0 else 0) | (0x80 if at + step >= len(deflated) else 0)
            self.frame(first, deflated[at:at + step])
        self.sent += len(message)

    def recv(self):
        """The message that comes, whether it was compressed or not, in one frame or several."""
        payload, compressed, fin = b"", None, False
        while not fin:
            first, length = self.input.read(2)
            if length == 126:
                length, = struct.unpack("!H", self.input.read(2))
            elif length == 127:
                length, = struct.unpack("!Q", self.input.read(8))
            payload += self.input.read(length)
            self.received += length
            if first & 0x0F == 8:
                raise AssertionError(f"closed: {payload!r:.100}")
            if compressed is None:
                compressed = bool(first & 0x40)
            elif first & 0x7F:
                raise AssertionError(f"a continuation begins with {first:#x}")
            fin = first & 0x80
        if not compressed:
            return payload
        if self.inflate is None or not self.server_keeps:
            self.inflate = zlib.decompressobj(-self.server_bits)
        # In small pieces: within one piece of output zlib would not notice a reference beyond the window.
        rest, message = payload + TAIL, b""
        while True:
            part = self.inflate.decompress(rest, 200)
            rest, message = self.inflate.unconsumed_tail, message + part
            if not part and not rest:
                return message


def messages(seed):
    """Texts like those of services, some octets in which there is nothing to find, and lengths around the edges."""
    chance = random.Random(seed)
    words = [f"{word}{number}" for word in ("user", "price", "active", "Zwölf", "日本") for number in range(9)]
    for length in (0, 1, 31, 32, 33, 125, 126, 500, 511, 512, 513, 1000, 4095, 4096, 4097, 40000, 65536, 70000, 200000, 3):
        kind = chance.randrange(4)
        if kind == 0:
            yield chance.randbytes(min(length, 5000))
        else:
            yield " ".join(chance.choices(words, k=length // 5 + 1)).encode()[:length]
    # One text again and again: as far back as the window goes.
    for _ in range(20):
        yield b"".join(b'{"id":%d,"name":"user%d"}' % (number, number * 7) for number in range(chance.randrange(30)))


def talk(url, offer, seed, **how):
    with Connection(url, offer) as connection:
        if connection.agreed is None:
            raise AssertionError(f"{offer} was declined")
        for number, message in enumerate(messages(seed)):
            connection.send(message, pieces=1 + number % 4, **how)
            equal(connection.recv(), message)
        if connection.received > connection.sent * 2 // 3:
            raise AssertionError(f"{connection.received} bytes for {connection.sent}")
        return connection


for url, mode in ((DEDICATED, "with context takeover"), (SHARED, "without")):
    for bits in BITS:

        @check(f"{mode}, a server's window of {bits} bits is kept to")
        def server_window(url=url, bits=bits):
            connection = talk(url, f"permessage-deflate; server_max_window_bits={bits}", bits)
            equal(connection.server_bits <= bits, True)

        @check(f"{mode}, a client's window of {bits} bits is enough")
        def client_window(url=url, bits=bits):
            connection = talk(url, f"permessage-deflate; client_max_window_bits={bits}", bits)
            equal(connection.client_bits <= bits, True)

    @check(f"{mode}, each direction forgets if it is asked to")
    def takeover(url=url):
        for side in ("server", "client"):
            connection = talk(url, f"permessage-deflate; {side}_no_context_takeover; client_max_window_bits", 1)
            equal(getattr(connection, f"{side}_keeps"), False)

    @check(f"{mode}, whatever level and flush the client uses")
    def levels(url=url):
        for level in (0, 1, 6, 9):
            for flush in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH):
                talk(url, "permessage-deflate; client_max_window_bits", level, level=level, flush=flush)


@check("connections whose messages alternate keep their windows, and their histories apart")
def many():
    connections = [Connection(url, f"permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}")
                   for url in (DEDICATED, SHARED) for bits in BITS for _ in range(2)]
    said = [list(messages(seed)) for seed in range(len(connections))]
    for number in range(len(said[0])):
        for connection, own in zip(connections, said):
            connection.send(own[number], pieces=1 + number % 3)
        for connection, own in zip(connections, said):
            equal(connection.recv(), own[number])
    for connection in connections:
        connection.__exit__()


@check("a window of 8 bits is declined for the server, and taken from the client")
def eight():
    with Connection(DEDICATED, "permessage-deflate; server_max_window_bits=8") as connection:
        equal(connection.agreed, None)
    connection = talk(DEDICATED, "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits=8", 8, level=0)
    equal(connection.client_bits, 8)


run("zlib")
