"""The Redis protocol: a connection that sends commands and reads replies, and a subscriber."""

import socket
import threading

from registry import Violated, shown


class ReplyError(Exception):
    """An error reply."""


def command(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def read(stream):
    """The next value of a buffered stream: str, int, bytes, list, None or `ReplyError`."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the connection ended")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        return ReplyError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        length = int(rest)
        return None if length < 0 else stream.read(length + 2)[:-2]
    if kind == b"*":
        return [read(stream) for _ in range(int(rest))]
    raise ConnectionError(f"not RESP: {line!r:.100}")


class Connection:
    """`connect` is a function that returns a socket."""

    def __init__(self, connect, user=None, timeout=10):
        self.socket = connect()
        self.socket.settimeout(timeout)
        self.stream = self.socket.makefile("rb")
        if user:
            self.call("AUTH", user, "any")

    def call(self, *words):
        self.socket.sendall(command(*words))
        value = read(self.stream)
        if isinstance(value, ReplyError):
            raise value
        return value

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.stream.close()
        self.socket.close()


class Subscriber:
    """Collects the payloads of a channel, or the lines of MONITOR."""

    def __init__(self, connect, user, *words):
        self.payloads = []
        self._changed = threading.Condition()
        self._connection = Connection(connect, user)
        self._connection.call(*words)
        self._connection.socket.settimeout(None)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def wait_for(self, count, timeout=10):
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.payloads) >= count, timeout):
                raise Violated(f"Redis delivered {len(self.payloads)} of {count} payloads after {timeout} s; "
                               f"the last: {shown(self.payloads[-3:])}")

    def _read(self):
        try:
            while True:
                value = read(self._connection.stream)
                payload = value if isinstance(value, str) else value[-1]
                with self._changed:
                    self.payloads.append(payload)
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass


def tcp(host, port):
    return lambda: socket.create_connection((host, port), 5)


def unix(path):
    def connect():
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(str(path))
        return stream

    return connect


