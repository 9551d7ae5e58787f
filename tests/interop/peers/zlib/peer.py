"""A permessage-deflate client on zlib: every window size, with and without context takeover. Started by ../run.

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
TIMEOUT = 20  # seconds, for each answer
BITS = range(9, 16)


class Connection:
    def __init__(self, url, offer):
        host, port = url.split("//")[1].rstrip("/").split(":")
        self.socket = socket.create_connection((host, int(port)), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall((f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                             f"Sec-WebSocket-Extensions: {offer}\r\n\r\n").encode())
        self.input = self.socket.makefile("rb")
        response = {}
        while (line := self.input.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            response[name.lower()] = value.strip()
        self.accepted = response.get("sec-websocket-extensions")
        parts = (self.accepted or "").replace(" ", "").split(";")
        parameters = dict(part.partition("=")[::2] for part in parts)
        self.client_bits = int(parameters.get("client_max_window_bits", 15))
        self.server_bits = int(parameters.get("server_max_window_bits", 15))
        self.client_context_takeover = "client_no_context_takeover" not in parameters
        self.server_context_takeover = "server_no_context_takeover" not in parameters
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
            header = struct.pack("!BB", first, 0x80 | length)
        elif length < 1 << 16:
            header = struct.pack("!BBH", first, 0xFE, length)
        else:
            header = struct.pack("!BBQ", first, 0xFF, length)
        self.socket.sendall(header + bytes(4) + payload)  # a masking key of zeros

    def send(self, message, level=6, fragments=1, flush=zlib.Z_SYNC_FLUSH):
        if self.deflate is None or not self.client_context_takeover:
            self.deflate = zlib.compressobj(level, zlib.DEFLATED, -max(self.client_bits, 9))
        deflated = (self.deflate.compress(message) + self.deflate.flush(flush)).removesuffix(TAIL)
        step = -(-len(deflated) // fragments) or 1
        for at in range(0, len(deflated), step):
            first = (0x42 if at == 0 else 0) | (0x80 if at + step >= len(deflated) else 0)
            self.frame(first, deflated[at:at + step])
        self.sent += len(message)

    def recv(self):
        """The next message, inflated if it is compressed."""
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
                raise AssertionError(f"the first byte of a continuation frame is {first:#x}")
            fin = first & 0x80
        if not compressed:
            return payload
        if self.inflate is None or not self.server_context_takeover:
            self.inflate = zlib.decompressobj(-self.server_bits)
        # In small pieces, because zlib does not detect a reference beyond the window within one piece of output.
        rest, message = payload + TAIL, b""
        while True:
            part = self.inflate.decompress(rest, 200)
            rest, message = self.inflate.unconsumed_tail, message + part
            if not part and not rest:
                return message


def messages(seed):
    """Messages of typical words, some incompressible messages, and lengths around limits."""
    rng = random.Random(seed)
    words = [f"{word}{number}" for word in ("user", "price", "active", "Zwölf", "日本") for number in range(9)]
    for length in (0, 1, 31, 32, 33, 125, 126, 500, 511, 512, 513, 1000, 4095, 4096, 4097,
                   40000, 65536, 70000, 200000, 3):
        kind = rng.randrange(4)
        if kind == 0:
            yield rng.randbytes(min(length, 5000))
        else:
            yield " ".join(rng.choices(words, k=length // 5 + 1)).encode()[:length]
    # Repeated text, with references as far back as the window.
    for _ in range(20):
        yield b"".join(b'{"id":%d,"name":"user%d"}' % (number, number * 7) for number in range(rng.randrange(30)))


def exchange(url, offer, seed, **options):
    """Checks that all messages are echoed and compressed. Returns the connection."""
    with Connection(url, offer) as connection:
        if connection.accepted is None:
            raise AssertionError(f"{offer} was declined")
        for number, message in enumerate(messages(seed)):
            connection.send(message, fragments=1 + number % 4, **options)
            equal(connection.recv(), message)
        if connection.received > connection.sent * 2 // 3:
            raise AssertionError(f"{connection.received} bytes for {connection.sent}")
        return connection


for url, mode in ((DEDICATED, "with context takeover"), (SHARED, "without context takeover")):
    for bits in BITS:

        @check(f"{mode}: the server uses a window of at most {bits} bits if requested")
        def server_window(url=url, bits=bits):
            connection = exchange(url, f"permessage-deflate; server_max_window_bits={bits}", bits)
            equal(connection.server_bits <= bits, True)

        @check(f"{mode}: the server accepts a client window of {bits} bits")
        def client_window(url=url, bits=bits):
            connection = exchange(url, f"permessage-deflate; client_max_window_bits={bits}", bits)
            equal(connection.client_bits <= bits, True)

    @check(f"{mode}: context takeover can be turned off in each direction")
    def takeover(url=url):
        for side in ("server", "client"):
            connection = exchange(url, f"permessage-deflate; {side}_no_context_takeover; client_max_window_bits", 1)
            equal(getattr(connection, f"{side}_context_takeover"), False)

    @check(f"{mode}: every compression level and flush mode of the client is accepted")
    def levels(url=url):
        for level in (0, 1, 6, 9):
            for flush in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH):
                exchange(url, "permessage-deflate; client_max_window_bits", level, level=level, flush=flush)


@check("connections with interleaved messages do not share their windows")
def interleaved():
    connections = [Connection(url, f"permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}")
                   for url in (DEDICATED, SHARED) for bits in BITS for _ in range(2)]
    sent = [list(messages(seed)) for seed in range(len(connections))]
    for number in range(len(sent[0])):
        for connection, own in zip(connections, sent):
            connection.send(own[number], fragments=1 + number % 3)
        for connection, own in zip(connections, sent):
            equal(connection.recv(), own[number])
    for connection in connections:
        connection.__exit__()


@check("a window of 8 bits is declined for the server and accepted for the client")
def window_of_8_bits():
    with Connection(DEDICATED, "permessage-deflate; server_max_window_bits=8") as connection:
        equal(connection.accepted, None)
    offers = "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits=8"
    connection = exchange(DEDICATED, offers, 8, level=0)
    equal(connection.client_bits, 8)


run("zlib")
