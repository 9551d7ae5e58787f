"""The far end of a connection, as one plays it who means no good: bytes as they are, and frames of any make."""

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
PATIENCE = 20  # seconds, for whatever is waited for


class Cut(Exception):
    """The server has ended the connection."""


class Address:
    """Where a server is, and how it is spoken to."""

    def __init__(self, url, deflate):
        self.url = url
        scheme, host, port = re.fullmatch(r"(wss?)://([^:/]+):(\d+)/?", url).groups()
        self.place, self.tls, self.deflate = (host, int(port)), scheme == "wss", deflate

    def tcp(self, receive_buffer=None):
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(PATIENCE)
        raw.connect(self.place)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return raw

    def stream(self, receive_buffer=None):
        """A connection, within TLS if that is spoken."""
        raw = self.tcp(receive_buffer)
        if not self.tls:
            return raw
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=True)


def request(*lines, target="/", key=None, host="localhost", deflate=False):
    """A request that is good but for the lines added."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    offer = ["Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"] if deflate else []
    head = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *offer, *lines]
    return "".join(f"{line}\r\n" for line in [*head, ""]).encode("latin-1")


def frame(opcode, payload=b"", first=None, mask=b"\0\0\0\0", length=None):
    """A frame; a mask of zeros leaves the payload as it is. `length` is what its head says instead of the truth."""
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
    """A WebSocket that is open, or a connection on which that is to be tried."""

    def __init__(self, address, *lines, receive_buffer=None, upgrade=True):
        self.address, self.buffer = address, b""
        self.stream = address.stream(receive_buffer)
        self.inflater = None
        if upgrade:
            self.send(request(*lines, deflate=address.deflate))
            status, head = self.answer()
            if status != 101:
                raise AssertionError(f"a good request is answered {head[:60]!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def reset(self):
        """Ends the connection so that the other end is told by an RST."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()

    def send(self, data):
        try:
            self.stream.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError) as error:
            raise Cut(str(error)) from None

    def receive(self, patience=PATIENCE):
        """Some bytes more; none at the end."""
        self.stream.settimeout(patience)
        try:
            return self.stream.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def fill(self, length):
        while len(self.buffer) < length:
            data = self.receive()
            if not data:
                raise Cut("in the middle of what was awaited")
            self.buffer += data

    def take(self, length):
        self.fill(length)
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def answer(self):
        """The status of the answer, and its head; 0 if the connection ends without one."""
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
        """The next frame: its first octet and its payload, inflated."""
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
        """The next data frame; control frames before it are passed over."""
        while True:
            first, payload = self.frame()
            if first & 15 < 8:
                return payload

    def echoes(self, text="are you there?"):
        self.send(frame(TEXT, text.encode()))
        got = self.message()
        if got != text.encode():
            raise AssertionError(f"the echo of {text!r} is {got[:60]!r}")

    def close_code(self):
        """The code of the close frame that comes, whatever comes before; None if the connection ends without one."""
        try:
            while True:
                first, payload = self.frame()
                if first & 15 == CLOSE:
                    return struct.unpack("!H", payload[:2])[0] if payload else 1005
        except Cut:
            return None

    def ends_within(self, seconds, data=None, every=0.2):
        """Waits for the end of the connection, saying `data` again and again meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if data:
                    self.send(data)
                if not self.receive(every if data else until - time.monotonic()):
                    return
            except Cut:
                return
            except TimeoutError:
                pass
        raise AssertionError(f"still connected after {seconds} s")
