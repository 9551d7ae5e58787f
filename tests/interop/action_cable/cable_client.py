"""A client of a cable on a raw socket, for checks that look at each message."""

import json
import pathlib
import socket
import struct
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))
from checks import equal  # noqa: E402


class Client:
    """A WebSocket that sends and receives JSON. Its key and its masks are constant."""

    def __init__(self, url, protocol="actioncable-v1-json", query=""):
        url = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((url.hostname, url.port), 20)
        target = f"{url.path}?{query}"
        self.socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        equal(head.split()[1], b"101")
        self.welcome = self.next()
        equal(self.welcome["type"], "welcome")

    def fill(self):
        octets = self.socket.recv(1 << 16)
        if not octets:
            raise EOFError("the connection has ended")
        self.buffer += octets

    def frame(self):
        """The opcode and the payload of the next frame."""
        while True:
            length, start = (self.buffer[1], 2) if len(self.buffer) > 1 else (0, 99)
            if length == 126:
                length, start = (struct.unpack(">H", self.buffer[2:4])[0], 4) if len(self.buffer) > 3 else (0, 99)
            elif length == 127:
                length, start = (struct.unpack(">Q", self.buffer[2:10])[0], 10) if len(self.buffer) > 9 else (0, 99)
            if len(self.buffer) >= start + length:
                opcode, payload = self.buffer[0] & 15, self.buffer[start:start + length]
                self.buffer = self.buffer[start + length:]
                return opcode, payload
            self.fill()

    def next(self):
        """The next message that is no ping of the cable."""
        while True:
            opcode, payload = self.frame()
            if opcode == 1 and not payload.startswith(b'{"type":"ping"'):
                return json.loads(payload)
            if opcode == 8:
                raise EOFError(struct.unpack(">H", payload[:2])[0])

    @staticmethod
    def framed(text):
        octets = text.encode()
        size = len(octets)
        length = struct.pack(">B", 128 | size) if size < 126 else (
            struct.pack(">BH", 254, size) if size < 65_536 else struct.pack(">BQ", 255, size))
        return b"\x81" + length + bytes(4) + octets

    def send(self, **command):
        self.socket.sendall(self.framed(json.dumps(command)))

    def subscribe(self, **params):
        self.send(command="subscribe", identifier=json.dumps({"channel": "ChatChannel", **params}))

    def perform(self, action, room, **data):
        identifier = json.dumps({"channel": "ChatChannel", "room": room})
        self.send(command="message", identifier=identifier, data=json.dumps({"action": action, **data}))
