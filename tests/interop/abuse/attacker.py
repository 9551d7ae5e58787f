"""A client that can misbehave: raw bytes, and frames with any header."""

import base64
import os
import re
import socket
import ssl
import struct
import time
import zlib

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN, RSV1 = 0x80, 0x40
TIMEOUT = 20  # seconds, for each blocking call


class Disconnected(Exception):
    """The server closed the connection."""


class Address:
    """Address of a server, and whether it speaks TLS and permessage-deflate."""

    def __init__(self, url, deflate):
        self.url = url
        scheme, host, port = re.fullmatch(r"(wss?)://([^:/]+):(\d+)/?", url).groups()
        self.endpoint, self.tls, self.deflate = (host, int(port)), scheme == "wss", deflate

    def tcp(self, receive_buffer=None):
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(TIMEOUT)
        raw.connect(self.endpoint)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return raw

    def stream(self, receive_buffer=None):
        """A connection, with TLS if the server speaks TLS."""
        raw = self.tcp(receive_buffer)
        if not self.tls:
            return raw
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=True)


def request(*lines, target="/", key=None, host="localhost", deflate=False):
    """A valid handshake request plus the given header lines."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    offer = ["Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"] if deflate else []
    head = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *offer, *lines]
    return "".join(f"{line}\r\n" for line in [*head, ""]).encode("latin-1")


def frame(opcode, payload=b"", first=None, mask=b"\0\0\0\0", length=None):
    """A frame. A masking key of zeros leaves the payload readable. `length` overrides the length in the header."""
    first = FIN | opcode if first is None else first
    length = len(payload) if length is None else length
    masked = 0x80 if mask is not None else 0
    if length < 126:
        head = struct.pack("!BB", first, masked | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, masked | 126, length)
    else:
        head = struct.pack("!BBQ", first, masked | 127, length)
    return head + (mask or b"") + payload


class Client:
    """An open WebSocket, or with `upgrade=False` a connection before the handshake."""

    def __init__(self, address, *lines, receive_buffer=None, upgrade=True):
        self.address, self.buffer = address, b""
        self.stream = address.stream(receive_buffer)
        self.inflater = None
        if upgrade:
            self.send(request(*lines, deflate=address.deflate))
            status, head = self.response()
            if status != 101:
                raise AssertionError(f"a valid request is answered with {head[:60]!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def reset(self):
        """Closes the connection with an RST."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()

    def send(self, data):
        try:
            self.stream.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError) as error:
            raise Disconnected(str(error)) from None

    def receive(self, timeout=TIMEOUT):
        """The next bytes; empty at the end of the stream."""
        self.stream.settimeout(timeout)
        try:
            return self.stream.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def fill(self, length):
        while len(self.buffer) < length:
            data = self.receive()
            if not data:
                raise Disconnected(f"after {len(self.buffer)} of {length} bytes")
            self.buffer += data

    def take(self, length):
        self.fill(length)
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def response(self):
        """The status and the head of the response; status 0 if the connection ends without a response."""
        while b"\r\n\r\n" not in self.buffer:
            data = self.receive()
            if not data:
                return 0, self.buffer
            self.buffer += data
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b"permessage-deflate" in head:
            self.inflater = zlib.decompressobj(-15)
        return int(head.split(b" ", 2)[1]), head

    def frame(self):
        """The next frame: its first byte without RSV1, and its inflated payload."""
        first, length = self.take(2)
        if length == 126:
            (length,) = struct.unpack("!H", self.take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.take(8))
        payload = self.take(length)
        if first & RSV1:
            payload = self.inflater.decompress(payload + b"\0\0\xff\xff")
            first &= ~RSV1
        return first, payload

    def message(self):
        """The payload of the next data frame; skips control frames."""
        while True:
            first, payload = self.frame()
            if first & 15 < 8:
                return payload

    def check_echo(self, text="are you there?"):
        self.send(frame(TEXT, text.encode()))
        received = self.message()
        if received != text.encode():
            raise AssertionError(f"the echo of {text!r} is {received[:60]!r}")

    def close_code(self):
        """The code of the next close frame; skips other frames. None if the connection ends without a close frame."""
        try:
            while True:
                first, payload = self.frame()
                if first & 15 == CLOSE:
                    return struct.unpack("!H", payload[:2])[0] if payload else 1005
        except Disconnected:
            return None

    def check_end_within(self, seconds, data=None, every=0.2):
        """Waits for the end of the connection, and sends `data` repeatedly meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if data:
                    self.send(data)
                if not self.receive(every if data else until - time.monotonic()):
                    return
            except Disconnected:
                return
            except TimeoutError:
                pass
        raise AssertionError(f"still connected after {seconds} s")
