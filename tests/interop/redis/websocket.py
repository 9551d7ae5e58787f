"""A WebSocket client on a plain socket: raw request targets, cut connections, and close frames left unanswered."""

import base64
import hashlib
import os
import socket
import struct
import threading
import time

from registry import Violated, shown

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Client:
    """A connection to `address`. A thread reads; `messages` are `str` and `bytes` in order of arrival.

    `path` goes into the request line as it is. `answers_close=False` leaves close frames unanswered, and
    `reads=False` leaves everything after the opening handshake unread.
    """

    def __init__(self, address, path="/", answers_close=True, reads=True):
        self.path = path
        self.messages, self.times = [], []
        self.close_code = None  # of the server's close frame
        self.ended = False
        self.problem = None  # why the thread stopped reading
        self._answers_close = answers_close
        self._changed, self._sending = threading.Condition(), threading.Lock()
        self._socket = socket.create_connection(address, 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = self._handshake(path if isinstance(path, bytes) else path.encode())
        self._socket.settimeout(None)
        if reads:
            threading.Thread(target=self._read, args=[rest], daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def send(self, *messages):
        """Sends the messages at once, each in one frame."""
        frames = [frame(TEXT, m.encode()) if isinstance(m, str) else frame(BINARY, bytes(m)) for m in messages]
        with self._sending:
            self._socket.sendall(b"".join(frames))

    def close(self, timeout=10):
        """A closing handshake. Returns the code of the server's close frame."""
        with self._sending:
            self._socket.sendall(frame(CLOSE, struct.pack("!H", 1000)))
        return self.wait_closed(timeout)

    def cut(self):
        """Resets the connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Without the shutdown, the read in the other thread would keep the socket open.
        self._socket.shutdown(socket.SHUT_RD)
        self._socket.close()

    def hang_up(self):
        """Ends the connection with a FIN, without a close frame."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def wait_closed(self, timeout=10):
        """The code of the server's close frame; 1006 if there was none; None if the connection stays open."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, timeout)
            return (self.close_code or 1006) if self.ended else None

    def wait_for(self, count, timeout=10):
        """Waits for `count` messages."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.messages) >= count or self.ended, timeout)
            if len(self.messages) < count:
                what = f"closed ({self.close_code}, {self.problem})" if self.ended else f"after {timeout} s"
                tail = shown(self.messages[-3:])
                raise Violated(f"{self.path}: {len(self.messages)} of {count} messages, {what}; the last: {tail}")

    def wait_message(self, message, timeout=10):
        """Waits until `message` is among the messages. Returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: message in self.messages, timeout)

    def expect(self, expected, timeout=10):
        """Waits for as many messages as `expected` has, and compares them with `expected`."""
        self.wait_for(len(expected), timeout)
        same(self.messages[:], expected, self.path)

    def take(self, fence=None, timeout=10):
        """Removes and returns the messages, or those up to the message `fence`, which must arrive."""
        if fence is not None and not self.wait_message(fence, timeout):
            raise Violated(f"{self.path}: {shown(fence)} did not arrive; the last: {shown(self.messages[-3:])}")
        with self._changed:
            count = len(self.messages) if fence is None else self.messages.index(fence) + 1
            taken = self.messages[:count]
            del self.messages[:count], self.times[:count]
            return taken[:-1] if fence is not None else taken

    def _handshake(self, path):
        key = base64.b64encode(os.urandom(16))
        lines = [b"GET " + path + b" HTTP/1.1", b"Host: 127.0.0.1", b"Upgrade: websocket", b"Connection: Upgrade"]
        lines += [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key, b"", b""]
        self._socket.sendall(b"\r\n".join(lines))
        response = b""
        while b"\r\n\r\n" not in response:
            some = self._socket.recv(65536)
            if not some:
                raise ConnectionError(f"{path}: closed instead of a response")
            response += some
        head, rest = response.split(b"\r\n\r\n", 1)
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        if not head.startswith(b"HTTP/1.1 101 ") or accept not in head:
            raise ConnectionError(f"{path}: {head.splitlines()[0]}")
        return rest

    def _read(self, rest):
        data, whole = bytearray(rest), bytearray()
        kind = None
        try:
            while True:
                at, arrived, now = 0, [], time.monotonic()
                while (found := parse(data, at)) is not None:
                    fin, opcode, payload, at = found
                    if opcode >= CLOSE:
                        self._control(opcode, payload)
                        continue
                    kind = opcode or kind
                    if opcode and fin:
                        message = payload
                    else:
                        whole += payload
                        message = bytes(whole)
                    if fin:
                        arrived.append(message.decode() if kind == TEXT else message)
                        whole.clear()
                del data[:at]
                if arrived:
                    with self._changed:
                        self.messages += arrived
                        self.times += [now] * len(arrived)
                        self._changed.notify_all()
                some = self._socket.recv(1 << 18)
                if not some:
                    break
                data += some
        except (OSError, ValueError) as error:
            self.problem = error
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _control(self, opcode, payload):
        if opcode == CLOSE:
            self.close_code = struct.unpack("!H", payload[:2])[0] if payload else 1005
        if opcode == PING or (opcode == CLOSE and self._answers_close):
            with self._sending:
                self._socket.sendall(frame(PONG if opcode == PING else CLOSE, payload))

    def _end(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


def frame(opcode, payload):
    """A whole message or control frame, masked."""
    length, key = len(payload), os.urandom(4)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    mask = (key * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + key + masked.to_bytes(length, "big")


def parse(data, at):
    """The frame of a server at the offset `at`: FIN, opcode, payload, end. None if it is not complete."""
    if len(data) < at + 2:
        return None
    fin, opcode, length = data[at] & 0x80, data[at] & 0x0F, data[at + 1]
    if data[at] & 0x70 or length & 0x80:
        raise ValueError(f"bad frame header {bytes(data[at:at + 2]).hex()}")
    start = at + 2
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(data) < start + size:
            return None
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if len(data) < start + length:
        return None
    return fin, opcode, bytes(data[start : start + length]), start + length


def same(got, expected, where=""):
    """Raises `Violated` with the first difference of two lists."""
    if got == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
    raise Violated(f"{where}: {len(got)} instead of {len(expected)} messages; from index {at} on "
                   f"{shown(got[at:at + 4])} instead of {shown(expected[at:at + 4])}")
