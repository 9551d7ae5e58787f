"""A client of Socket.IO with a WebSocket, for tests that break the protocol or look at single packets."""

import base64
import json
import os
import socket
import struct
import urllib.parse


class Client:
    """A client with a WebSocket, which answers pings while it waits."""

    def __init__(self, url, target="/socket.io/?EIO=4&transport=websocket"):
        place = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port), 10)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline() != b"\r\n":
            pass

    def send(self, text, opcode=1):
        data = text if isinstance(text, bytes) else text.encode()
        length = len(data)
        head = bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + struct.pack(">H", length) \
            if length < 65536 else bytes([0x80 | 127]) + struct.pack(">Q", length)
        self.socket.sendall(bytes([0x80 | opcode]) + head + bytes(4) + data)

    def frame(self):
        first, second = self.file.read(2)
        length = second & 127
        if length == 126:
            length, = struct.unpack(">H", self.file.read(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.file.read(8))
        data = self.file.read(length)
        if first & 15 == 8:
            raise EOFError(struct.unpack(">H", data[:2])[0])
        return data

    def next(self):
        while True:
            text = self.frame().decode()
            if text == "2":
                self.send("3")
            else:
                return text

    def join(self, auth=""):
        self.next()
        self.send(f"40{auth}")
        while True:
            text = self.next()
            if text.startswith("40"):
                return json.loads(text[2:])

    def ask(self, *event):
        self.send("420" + json.dumps(event))
        while True:
            text = self.next()
            if text.startswith("430"):
                return json.loads(text[3:])
