"""Raw sockets as clients of the server example, with Python's http.client and websockets as parsers; and nc. Started
by ../run.

    python sockets_peer.py URL
"""

import contextlib
import http.client
import io
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "peers"))
from checks import check, equal, run  # noqa: E402

URL = urllib.parse.urlsplit(sys.argv[1])
SECURE = URL.scheme == "https"
SOCKET_SCHEME = "wss" if SECURE else "ws"
ADDRESS = URL.hostname, URL.port
TIMEOUT = 20  # seconds, for each read and write
MIB = 1 << 20


class TlsSocket(io.RawIOBase):
    """TLS that one thread can read while another writes. Python's `ssl.SSLSocket` ends the connection then."""

    def __init__(self, stream):
        self.stream, self.lock = stream, threading.Lock()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=URL.hostname)
        self._until_done(self.tls.do_handshake)
        self.stream.sendall(self.outgoing.read())

    def sendall(self, data):
        with self.lock:
            self.tls.write(data)
            encrypted = self.outgoing.read()
        self.stream.sendall(encrypted)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._until_done(self.tls.read, len(buffer), buffer)

    def getsockname(self):
        return self.stream.getsockname()

    def close(self):
        self.stream.close()
        super().close()

    def _until_done(self, method, *arguments):
        """Calls a method until it needs no more input. Returns 0 at the end of the stream."""
        while True:
            with self.lock:
                try:
                    return method(*arguments)
                except ssl.SSLWantReadError:
                    flight = self.outgoing.read()  # of the handshake
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return 0
            self.stream.sendall(flight)
            data = self.stream.recv(1 << 16)
            with self.lock:
                self.incoming.write(data) if data else self.incoming.write_eof()


class KeptOpen(io.BufferedReader):
    """A reader that stays open when a response of http.client closes it."""

    def close(self):
        pass


class Connection:
    def __init__(self):
        self.socket = socket.create_connection(ADDRESS, TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if SECURE:
            self.socket = TlsSocket(self.socket)
        self.reader = KeptOpen(self.socket if SECURE else socket.SocketIO(self.socket, "r"), 1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def makefile(self, *_):
        """What http.client reads from."""
        return self.reader

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def response(self, method="GET"):
        """The status and the body of the next response."""
        response = http.client.HTTPResponse(self, method=method)
        response.begin()
        return response.status, response.read()

    def closed(self):
        """Whether the server has ended its side, and sent nothing more."""
        return self.reader.read(1) == b""

    def drop_requests(self):
        self.socket.shutdown(socket.SHUT_WR)


def request(target, method="GET", headers="", body=b""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}{length}\r\n".encode("latin-1") + body


@check("requests of one write are answered in their order, whatever their bodies")
def pipeline():
    exchanges = [
        (request("/health"), "GET", (200, b"ok")),
        (request("/echo", "POST", body=b"x" * 100_000), "POST", (200, b"x" * 100_000)),
        (request("/stream/300000", "HEAD"), "HEAD", (200, b"")),
        (request("/slow?ms=50"), "GET", (200, b"late")),
        (request("/stream/300000"), "GET", (200, b"7" * 300_000)),
        (request("/echo", "POST", "Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
         "POST", (200, b"abcde")),
        (request("/count", "PUT", body=b"y" * 5000), "PUT", (200, b"5000")),
        (request("/missing", "POST", body=b"z" * 5000), "POST", (404, b"Not Found\n")),
        (request("/", "OPTIONS"), "OPTIONS", (204, b"")),
        (request("/files/folder/inner.txt"), "GET", (200, b"inner")),
        (request("/slow?ms=0"), "GET", (200, b"late")),
    ]
    with Connection() as connection:
        writer = threading.Thread(target=connection.send, args=(b"".join(sent for sent, _, _ in exchanges * 10),))
        writer.start()
        for sent, method, expected in exchanges * 10:
            equal((sent[:30], connection.response(method)), (sent[:30], expected))
        writer.join()
        connection.send(request("/health", headers="Connection: close\r\n"))
        equal((connection.response(), connection.closed()), ((200, b"ok"), True))


@check("10,000 requests of one write are answered on one connection")
def long_pipeline():
    with Connection() as connection:
        writer = threading.Thread(target=connection.send, args=(request("/whoami") * 10_000,))
        writer.start()
        for _ in range(10_000):
            status, body = connection.response()
            equal((status, json.loads(body)["peer"]), (200, "{}:{}".format(*connection.socket.getsockname())))
        writer.join()


@check("request in pieces of one byte is answered")
def bytewise():
    with Connection() as connection:
        for octet in request("/echo", "POST", "Transfer-Encoding: chunked\r\n") + b"4\r\nabcd\r\n0\r\n\r\n":
            connection.send(bytes([octet]))
        equal(connection.response(), (200, b"abcd"))


if not SECURE:

    @check("client that ends its side after the requests gets all responses")
    def half_closed():
        for target, expected in (("/health", b"ok"), ("/slow?ms=300", b"late"), ("/stream/3000000", b"7" * 3_000_000),
                                 ("/files/folder/inner.txt", b"inner")):
            for headers in ("", "Connection: close\r\n"):
                with Connection() as connection:
                    connection.send(request("/echo", "POST", body=b"first") + request(target, headers=headers))
                    connection.drop_requests()
                    equal(connection.response(), (200, b"first"))
                    equal((target, connection.response() == (200, expected)), (target, True))
                    equal(connection.closed(), True)

    @check("nc -N, which ends its side at once, gets the response")
    def netcat():
        for headers in ("", "Connection: close\r\n"):
            done = subprocess.run(["nc", "-N", *map(str, ADDRESS)], input=request("/health", headers=headers),
                                  capture_output=True, timeout=TIMEOUT, check=True)
            head, body = done.stdout.split(b"\r\n\r\n")
            equal((head.split(b"\r\n")[0], body), (b"HTTP/1.1 200 OK", b"ok"))

    @check("client that ends its side in the middle of a request is disconnected")
    def half_a_request():
        for part in (b"GET /hea", request("/echo", "POST", "Content-Length: 10\r\n") + b"half"):
            with Connection() as connection:
                connection.send(part)
                connection.drop_requests()
                equal(b" 200 " in connection.reader.read(), False)


if SECURE:

    @check("client that ends its side of TLS after the request gets the whole response")
    def half_closed_tls():
        for target, expected in (("/health", b"ok"), ("/slow?ms=300", b"late"), ("/stream/1000000", b"7" * 1000)):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=URL.hostname)
            received = b""
            with socket.create_connection(ADDRESS, TIMEOUT) as stream:

                def step(method, *arguments):
                    """Calls a method until it needs no more input. Returns None at the end of the stream."""
                    while True:
                        try:
                            return method(*arguments)
                        except ssl.SSLWantReadError:
                            stream.sendall(outgoing.read())
                            incoming.write(stream.recv(65536))
                        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                            return None

                step(tls.do_handshake)
                tls.write(request(target))
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.unwrap()  # sends close_notify, and does not wait for the server's
                stream.sendall(outgoing.read())
                while part := step(tls.read, 65536):
                    received += part
            equal((received[:15], expected in received), (b"HTTP/1.1 200 OK", True))
            equal(target != "/stream/1000000" or received.endswith(b"\r\n0\r\n\r\n"), True)


def upgraded(connection, sent_before=b"", statuses=(200,)):
    """Opens a WebSocket behind other requests of the same write, and exchanges messages."""
    protocol = ClientProtocol(parse_uri(f"{SOCKET_SCHEME}://{URL.netloc}/echo"))
    protocol.send_request(protocol.connect())
    connection.send(sent_before + b"".join(protocol.data_to_send()))
    for status in statuses:
        equal(connection.response()[0], status)

    def receive(until):
        while not until():
            data = connection.reader.read1(65536)
            equal(data != b"", True)
            protocol.receive_data(data)
            events.extend(protocol.events_received())

    events = []
    receive(lambda: events)
    equal(events.pop(0).status_code, 101)
    for text in (b"first", b"x" * 70_000):
        protocol.send_text(text)
        connection.send(b"".join(protocol.data_to_send()))
        receive(lambda: events)
        equal((events[0].opcode, bytes(events.pop(0).data) == text), (Opcode.TEXT, True))
    protocol.send_close(1000)
    connection.send(b"".join(protocol.data_to_send()))
    receive(lambda: events)
    equal((events[0].opcode, connection.closed()), (Opcode.CLOSE, True))
    protocol.receive_eof()
    equal(protocol.close_code, 1000)


@check("WebSocket is opened in the middle of a connection, after responses or right behind other requests")
def upgrade():
    with Connection() as connection:
        connection.send(request("/health"))
        equal(connection.response(), (200, b"ok"))
        connection.send(request("/echo", "POST", body=b"x" * 50_000))
        equal(connection.response()[0], 200)
        upgraded(connection, statuses=())
    with Connection() as connection:
        upgraded(connection, request("/health") + request("/stream/200000") + request("/slow?ms=20"), (200, 200, 200))


@check("frame in the same write as the opening handshake is echoed")
def early_frame():
    protocol = ClientProtocol(parse_uri(f"{SOCKET_SCHEME}://{URL.netloc}/echo"))
    protocol.send_request(protocol.connect())
    frame = Frame(Opcode.TEXT, b"early").serialize(mask=True)
    with Connection() as connection:
        connection.send(request("/health") + b"".join(protocol.data_to_send()) + frame)
        equal(connection.response(), (200, b"ok"))
        events = []
        while len(events) < 2:
            protocol.receive_data(connection.reader.read1(65536))
            events += protocol.events_received()
        equal((events[0].status_code, bytes(events[1].data)), (101, b"early"))


@check("connection that was refused a WebSocket is closed after the response")
def refused_upgrade():
    with Connection() as connection:
        connection.send(request("/echo", headers="Connection: Upgrade\r\nUpgrade: websocket\r\n"
                                "Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"))
        equal((connection.response()[0] in (400, 426), connection.closed()), (True, True))


MALFORMED = {
    "bare line feed in a header": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n", None),
    "no Host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "space before the colon": (b"GET /health HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    "folded header": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    "two lengths": (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "negative length": (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    "length with a sign": (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400),
    "length and chunks": (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                          b"0\r\n\r\n", 400),
    "chunks that are not last": (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "unknown coding": (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", None),
    "chunk size that is no number": (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    "chunk size over 64 bits": (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                b"10000000000000001\r\n", None),
    "chunk longer than its size": (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
                                   400),
    "chunks in HTTP/1.0": (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "version 3": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", None),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600), None),
}


@check("malformed requests are refused, and what follows them is not answered")
def malformed():
    wrong = []
    for title, (sent, status) in MALFORMED.items():
        with Connection() as connection:
            connection.send(sent + request("/health"))
            lines = [line for line in connection.reader.read().split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
            statuses = [int(line.split()[1]) for line in lines]
            # Without a status: some error of the client or of the server's abilities.
            refused = len(statuses) == 1 and (statuses[0] == status if status else statuses[0] in (400, 413, 501, 505))
            if not refused:
                wrong.append((title, statuses, status))
    equal(wrong, [])


@check("empty lines before a request are skipped")
def empty_lines():
    with Connection() as connection:
        connection.send(b"\r\n" + request("/health") + b"\r\n" + request("/health"))
        equal([connection.response(), connection.response()], [(200, b"ok")] * 2)


@check("client that leaves during a response or an upload leaves the server serving")
def leaving():
    for sent in (request("/stream/1000000000"), request("/count", "POST", "Content-Length: 1000000\r\n") + b"x" * 999,
                 request("/slow?ms=200"), request("/files/data.bin"), request("/stream/100000") * 50):
        for _ in range(10):
            with Connection() as connection:
                connection.send(sent)
                time.sleep(0.01)
    with Connection() as connection:
        connection.send(request("/health"))
        equal(connection.response(), (200, b"ok"))


run("sockets-https" if SECURE else "sockets")
