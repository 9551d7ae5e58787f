"""Servers in the place of Redis: a scriptable Redis, servers that are none, and a proxy that delays replies."""

import contextlib
import queue
import socket
import threading
import time

import resp
from servers import free_port


class Peer:
    """A connection accepted by a fake. A thread writes, `lag` seconds late and in pieces of `piece` bytes."""

    def __init__(self, stream, number):
        self.socket, self.number, self.accepted = stream, number, time.monotonic()
        self.stream = stream.makefile("rb")
        self.lag, self.piece = 0, None
        self.cut_after = None  # bytes after which the connection ends
        self.sent = 0
        self.channels = set()
        self.thawed = threading.Event()
        self.thawed.set()
        self._queue = queue.Queue()
        threading.Thread(target=self._write, daemon=True).start()

    def write(self, data, sending=None):
        """Queues bytes. `sending` is called right before they are sent."""
        self._queue.put((time.monotonic() + self.lag, data, sending))

    def end(self):
        """Ends the connection after the queued bytes."""
        self._queue.put((0, None, None))

    def commands(self):
        with contextlib.suppress(OSError, ValueError):
            while True:
                yield resp.read(self.stream)

    def _write(self):
        with contextlib.suppress(OSError):
            while True:
                when, data, sending = self._queue.get()
                time.sleep(max(0, when - time.monotonic()))
                if data is None:
                    break
                if sending:
                    sending()
                if self.cut_after is not None:
                    data = data[: self.cut_after - self.sent]
                size = self.piece or len(data) or 1
                for at in range(0, len(data), size):
                    self.socket.sendall(data[at : at + size])
                self.sent += len(data)
                if self.cut_after is not None and self.sent >= self.cut_after:
                    break
            self.socket.shutdown(socket.SHUT_WR)


class Fake:
    """Accepts on `port` and calls `serve` with each connection, in a thread of its own."""

    def __init__(self, port=None, serve=None):
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"redis://{self.address}"
        self.peers = []
        if serve:
            self.serve = serve

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=50)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def drop(self):
        """Ends all connections."""
        for peer in self.peers[:]:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self._listener.accept()
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = Peer(stream, len(self.peers))
                self.peers.append(peer)
                threading.Thread(target=self._serve, args=[peer], daemon=True).start()

    def _serve(self, peer):
        with contextlib.suppress(OSError):
            self.serve(peer)
        peer.end()
        with contextlib.suppress(OSError):
            while peer.socket.recv(1 << 16):
                pass
        peer.stream.close()
        peer.socket.close()


def silent(peer):
    """Reads and never answers."""
    with contextlib.suppress(OSError):
        while peer.socket.recv(1 << 16):
            pass


def slam(_):
    """Closes at once."""


class FakeRedis(Fake):
    """PUBLISH and SUBSCRIBE as in Redis. `on_command(peer, words)` sees each command first and returns whether it
    has answered it. `log` has the time of arrival, the connection and the words of each command that was answered."""

    def __init__(self, port=None, on_command=None, on_accept=None):
        super().__init__(port)
        self.on_command, self.on_accept = on_command, on_accept
        self.log = []
        self.subscribed = {}  # the connections of each channel
        self.pushed = []  # time and connection of each delivery
        self._lock = threading.Lock()

    def serve(self, peer):
        if self.on_accept:
            self.on_accept(peer)
        try:
            for words in peer.commands():
                arrived = time.monotonic()
                words[0] = words[0].upper()
                if not (self.on_command and self.on_command(peer, words)):
                    self.answer(peer, words)
                self.log.append((arrived, peer, words))
        finally:
            with self._lock:
                for channel in peer.channels:
                    self.subscribed[channel].discard(peer)

    def answer(self, peer, words):
        name = words[0]
        if name in (b"SUBSCRIBE", b"UNSUBSCRIBE"):
            for channel in words[1:]:
                with self._lock:
                    known = self.subscribed.setdefault(channel, set())
                    for change in (known, peer.channels):
                        element = peer if change is known else channel
                        change.add(element) if name == b"SUBSCRIBE" else change.discard(element)
                    peer.write(push(name.lower(), channel, len(peer.channels)))
        elif name == b"PUBLISH":
            peer.write(b":%d\r\n" % self.deliver(*words[1:3]))
        elif name == b"PING":
            payload = words[1] if len(words) > 1 else b""
            peer.write(push(b"pong", payload) if peer.channels else b"+PONG\r\n")
        elif name == b"CLIENT" and words[1].upper() == b"ID":
            peer.write(b":%d\r\n" % (peer.number + 1))
        elif name in (b"AUTH", b"SELECT", b"CLIENT"):
            peer.write(b"+OK\r\n")
        else:
            peer.write(b"-ERR unknown command\r\n")

    def deliver(self, channel, payload):
        """Delivers a payload. Returns the number of receivers."""
        with self._lock:
            receivers = list(self.subscribed.get(channel, ()))
            for peer in receivers:
                peer.write(push(b"message", channel, payload),
                           lambda peer=peer: self.pushed.append((time.monotonic(), peer)))
        return len(receivers)

    def commands(self, name, channel=None, peers=None):
        """The commands of this name in the log, of the channel and of the connections."""
        return [(when, peer, words) for when, peer, words in self.log[:] if words[0] == name
                and (channel is None or channel in words[1:2]) and (peers is None or peer in peers)]


def push(*values):
    return b"*%d\r\n" % len(values) + b"".join(
        b":%d\r\n" % value if isinstance(value, int) else b"$%d\r\n%s\r\n" % (len(value), value) for value in values)


class Proxy(Fake):
    """A proxy of a Redis on 127.0.0.1. What Redis sends arrives `lag` seconds late."""

    def __init__(self, upstream, lag=0):
        super().__init__()
        self.upstream, self.lag = upstream, lag
        self.received = b""  # what the processes sent

    def freeze(self):
        """Holds back both directions of the present connections. Returns a function that lets the bytes go on, also
        those of connections that were closed meanwhile."""
        thawed = threading.Event()
        for peer in self.peers:
            peer.thawed = thawed
        return thawed.set

    def serve(self, peer):
        peer.lag = self.lag
        with socket.create_connection(("127.0.0.1", self.upstream)) as redis:
            redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._back, args=[peer, redis], daemon=True).start()
            while data := peer.socket.recv(1 << 16):
                peer.thawed.wait()
                self.received += data
                redis.sendall(data)
            redis.shutdown(socket.SHUT_RDWR)

    def _back(self, peer, redis):
        with contextlib.suppress(OSError):
            while data := redis.recv(1 << 16):
                peer.thawed.wait()
                peer.write(data)
        peer.end()


class FullBacklog:
    """A listening socket whose queue is full: Linux drops further SYN packets, and lets connections to a Unix socket
    wait. `path` is for a Unix socket."""

    def __init__(self, path=None):
        self.target = str(path) if path else ("127.0.0.1", free_port())
        self.address = str(path) if path else f"127.0.0.1:{self.target[1]}"
        self.url = f"unix://{path}" if path else f"redis://{self.address}"

    def __enter__(self):
        family = socket.AF_INET if isinstance(self.target, tuple) else socket.AF_UNIX
        self._sockets = [socket.socket(family)]
        self._sockets[0].bind(self.target)
        self._sockets[0].listen(0)
        while True:
            filler = socket.socket(family)
            filler.settimeout(0.5)
            self._sockets.append(filler)
            try:
                filler.connect(self.target)
            except (TimeoutError, BlockingIOError):
                return self

    def __exit__(self, *_):
        for each in self._sockets:
            each.close()
