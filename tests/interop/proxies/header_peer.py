"""Raw sockets that send headers of the PROXY protocol to the server example. Started by ./run.

    python header_peer.py PLAIN_URL PROXIED_URL PROXIED_TLS_URL UNIX_PATH PID

`UNIX_PATH` and `PID` are those of the server of `PROXIED_URL`.
"""

import concurrent.futures
import http.client
import io
import json
import os
import pathlib
import select
import socket
import ssl
import struct
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
from checks import check, equal, run  # noqa: E402

PLAIN, PROXIED, PROXIED_TLS = [(url.hostname, url.port) for url in map(urllib.parse.urlsplit, sys.argv[1:4])]
UNIX, PID = sys.argv[4], int(sys.argv[5])
TIMEOUT = 5  # seconds, for each read and write
OPENING = 8, 13  # seconds, between which an unfinished header ends the connection. The time-out is 10 s.
PAUSE = 0.01  # seconds, between two pieces

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21  # version and command
UNSPECIFIED, TCP4, TCP6, UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
PORTS = struct.pack("!HH", 40000, 80)
ADDRESSES = {
    UNSPECIFIED: b"",
    TCP4: socket.inet_aton("192.0.2.7") + socket.inet_aton("10.0.0.1") + PORTS,
    TCP6: socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "::1") + PORTS,
    UNIX_STREAM: b"/run/client.sock".ljust(108, b"\0") + bytes(108),
}
NOOP, SSL = 0x04, 0x20  # types of additional fields
WHOAMI = b"GET /whoami HTTP/1.1\r\nHost: a\r\n%sConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 80\r\n"


def v2(command, family, fields=b"", addresses=None):
    rest = (ADDRESSES[family] if addresses is None else addresses) + fields
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def field(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def ssl_field(flags):
    """The field SSL, with the field of the version of TLS in it."""
    return field(SSL, struct.pack("!BI", flags, 0) + field(0x21, b"TLSv1.3"))


V2 = v2(PROXY, TCP4, field(NOOP, b"\0\0") + ssl_field(1))
CLIENT, SECURE_CLIENT = [{"peer": "192.0.2.7:40000", "secure": secure} for secure in (False, True)]


def connected(address=PROXIED):
    if isinstance(address, str):
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(TIMEOUT)
        stream.connect(address)
        return stream
    stream = socket.create_connection(address, TIMEOUT, source_address=("127.0.0.2", 0))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def received(stream):
    """All that the server sends before it closes the connection, by EOF or reset."""
    data = b""
    try:
        while part := stream.recv(65536):
            data += part
    except (ConnectionResetError, BrokenPipeError):
        pass
    return data


def send_pieces(stream, pieces):
    for index, piece in enumerate(pieces):
        if index:
            time.sleep(PAUSE)
        stream.sendall(piece)


class Received:
    """What http.client reads a response from."""

    def __init__(self, data):
        self.data = data

    def makefile(self, *_):
        return io.BytesIO(self.data)


def parsed(data):
    response = http.client.HTTPResponse(Received(data))
    response.begin()
    return response.status, response.read()


def whoami(*pieces, headers=b"", address=PROXIED):
    """The answer to a request behind the header, and the client's own address."""
    with connected(address) as stream:
        send_pieces(stream, [*pieces[:-1], pieces[-1] + WHOAMI % headers])
        status, body = parsed(received(stream))
        equal(status, 200)
        return json.loads(body), stream.getsockname()


def own(address):
    """The answer to a connection of the proxy itself."""
    return {"peer": "{}:{}".format(*address), "secure": False}


def cuts(header):
    return [[header[:cut], header[cut:]] for cut in range(1, len(header))]


@check("header of version 1 is read in two pieces, whatever the cut, and byte by byte")
def cut_v1():
    for pieces in [[V1], *cuts(V1), [bytes([octet]) for octet in V1]]:
        equal((pieces, whoami(*pieces)[0]), (pieces, CLIENT))


@check("header of version 2 is read in two pieces, whatever the cut, and byte by byte")
def cut_v2():
    for pieces in [[V2], *cuts(V2), [bytes([octet]) for octet in V2]]:
        equal((pieces, whoami(*pieces)[0]), (pieces, SECURE_CLIENT))


@check("request is cut at every byte behind the header")
def cut_request():
    for pieces in cuts(V1 + WHOAMI % b""):
        with connected() as stream:
            send_pieces(stream, pieces)
            equal(json.loads(parsed(received(stream))[1]), CLIENT)


def tls_whoami(header, cut):
    """The answer over TLS. The first message of TLS is in the same write as the end of the header."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=PROXIED_TLS[0])
    before = [header[:cut], header[cut:]]
    with connected(PROXIED_TLS) as stream:

        def step(method, *arguments):
            """Calls a method until it needs no more input. Returns None at the end of the stream."""
            while True:
                try:
                    return method(*arguments)
                except ssl.SSLWantReadError:
                    send_pieces(stream, [*before[:-1], b"".join(before[-1:]) + outgoing.read()])
                    before.clear()
                    incoming.write(stream.recv(65536))
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return None

        step(tls.do_handshake)
        tls.write(WHOAMI % b"")
        data = b""
        while part := step(tls.read, 65536):
            data += part
    return json.loads(parsed(data)[1])


@check("header goes before TLS, whatever the cut")
def cut_tls():
    for header in (V1, v2(PROXY, TCP4)):
        for cut in range(1, len(header) + 1):
            equal((cut, tls_whoami(header, cut)), (cut, SECURE_CLIENT))


@check("client's address is that of the header, in both versions and families")
def addresses():
    for header, peer in {
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": "255.255.255.255:65535",
        b"PROXY TCP6 2001:db8::7 ::1 40000 80\r\n": "[2001:db8::7]:40000",
        v2(PROXY, TCP4): "192.0.2.7:40000",
        v2(PROXY, TCP6): "[2001:db8::7]:40000",
        v2(PROXY, UNIX_STREAM): "unix",
    }.items():
        equal((header, whoami(header)[0]), (header, {"peer": peer, "secure": False}))


@check("LOCAL, UNKNOWN and an unspecified family leave the address of the connection")
def local():
    for header in (v2(LOCAL, UNSPECIFIED), v2(LOCAL, TCP4), v2(LOCAL, TCP4, ssl_field(1)), v2(PROXY, UNSPECIFIED),
                   v2(LOCAL, 0x77, b"ignored", b""), b"PROXY UNKNOWN\r\n",
                   b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"):
        got, address = whoami(header)
        equal((header, got), (header, own(address)))


@check("connection is secure if the field SSL says so")
def secure():
    for fields, expected in ((ssl_field(1), True), (ssl_field(3), True), (ssl_field(7), True), (ssl_field(0), False),
                             (ssl_field(6), False), (field(NOOP, b"x" * 200) + ssl_field(1), True)):
        for family in (TCP4, TCP6, UNIX_STREAM):
            equal((fields, whoami(v2(PROXY, family, fields))[0]["secure"]), (fields, expected))


@check("forwarded headers count if the client of the PROXY header is trusted")
def forwarded():
    headers = b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
    equal(whoami(V1, headers=headers)[0], CLIENT)
    equal(whoami(v2(PROXY, TCP4), headers=headers)[0], CLIENT)
    believed = {"peer": "203.0.113.9:0", "secure": True}
    for header in (b"PROXY TCP4 127.0.0.9 10.0.0.1 40000 80\r\n", b"PROXY TCP6 ::1 ::1 40000 80\r\n",
                   v2(PROXY, UNIX_STREAM), v2(LOCAL, UNSPECIFIED)):
        equal((header, whoami(header, headers=headers)[0]), (header, believed))
    standard = b"Forwarded: for=\"[2001:db8::9]:4711\";proto=https\r\n"
    equal(whoami(v2(PROXY, UNIX_STREAM), headers=standard)[0], {"peer": "[2001:db8::9]:4711", "secure": True})


@check("client of a Unix socket sends no PROXY header, and its forwarded headers count")
def unix_socket():
    equal(whoami(b"", address=UNIX)[0], {"peer": "unix", "secure": False})
    headers = b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
    equal(whoami(b"", address=UNIX, headers=headers)[0], {"peer": "203.0.113.9:0", "secure": True})
    with connected(UNIX) as stream:
        stream.sendall(V1 + WHOAMI % b"")
        equal(parsed(received(stream))[0], 400)


def equal_closed(sent, address=PROXIED):
    """The connection is closed at once, without an answer."""
    with connected(address) as stream:
        stream.sendall(sent)
        equal((sent[:60], received(stream)), (sent[:60], b""))


@check("header of version 2 may have 1 KiB, and a longer one is refused before it arrives")
def v2_limit():
    def long(length, family=TCP4):
        return v2(PROXY, family, field(NOOP, bytes(length - 16 - len(ADDRESSES[family]) - 3)))

    for family, peer in ((TCP4, "192.0.2.7:40000"), (TCP6, "[2001:db8::7]:40000"), (UNIX_STREAM, "unix")):
        header = long(1024, family)
        equal((len(header), whoami(header)[0]["peer"]), (1024, peer))
        equal(whoami(header[:16], header[16:])[0]["peer"], peer)
        for refused in (long(1025, family), long(1025, family)[:16], long(65551, family)[:16]):
            equal_closed(refused)


@check("line of version 1 may have 107 bytes, and a longer one is refused")
def v1_limit():
    longest = b"PROXY UNKNOWN %s\r\n" % (b"x" * 91)
    got, address = whoami(longest)
    equal((len(longest), got), (107, own(address)))
    equal_closed(b"PROXY UNKNOWN %s\r\n" % (b"x" * 92))
    equal_closed(b"PROXY UNKNOWN %s" % (b"x" * 200))


@check("connection without a header is closed without an answer")
def missing():
    hello = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = hello.read()
    for address in (PROXIED, PROXIED_TLS):
        for sent in (WHOAMI % b"", hello, b"G", b"PROXX", b"\r\n\r\nGET / HTTP/1.1\r\n", bytes(2000), b"\r\n" + V1):
            equal_closed(sent, address)


@check("malformed header is refused without an answer")
def malformed():
    for sent in (V1[:-2] + b"\n", b"PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n", b"PROXY TCP4 ::1 ::1 40000 80\r\n",
                 b"PROXY TCP6 192.0.2.7 10.0.0.1 40000 80\r\n", b"PROXY TCP4 192.0.2.7 10.0.0.1 70000 80\r\n",
                 b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 80 x\r\n", b"PROXY UDP4 192.0.2.7 10.0.0.1 40000 80\r\n",
                 b"PROXY \r\n", v2(0x31, TCP4), v2(0x22, TCP4), v2(PROXY, 0x41, b"", ADDRESSES[TCP4]),
                 v2(PROXY, TCP4, b"", ADDRESSES[TCP4][:8]), v2(PROXY, TCP6, b"", ADDRESSES[TCP4])):
        equal_closed(sent + WHOAMI % b"")


@check("second header, and a header to a server that expects none, are malformed requests")
def unexpected():
    for sent, address in ((V1 + V1, PROXIED), (V1, PLAIN), (V2, PLAIN)):
        with connected(address) as stream:
            stream.sendall(sent + WHOAMI % b"")
            equal((sent, parsed(received(stream))[0]), (sent, 400))


@check("header that is never complete ends the connection after 10 s, also if it grows")
def unfinished():
    def wait(address, sent, trickle):
        began = time.monotonic()
        with connected(address) as stream:
            stream.sendall(sent)
            for _ in range(OPENING[1]):
                readable, _, _ = select.select([stream], [], [], 1)
                if readable:
                    break
                if trickle:
                    stream.sendall(b"1")
            data = received(stream)
        after = time.monotonic() - began
        return (address, sent, trickle), data, OPENING[0] < after < OPENING[1] or after

    starts = (b"", b"P", V1[:14], V1[:-1], V2[:5], V2[:14], V2[:-1])
    attempts = [(address, sent, False) for address in (PROXIED, PROXIED_TLS) for sent in starts]
    attempts += [(PROXIED, b"PROXY UNKNOWN ", True), (PROXIED, v2(PROXY, TCP4, bytes(900))[:20], True)]
    with concurrent.futures.ThreadPoolExecutor(len(attempts)) as pool:
        for attempt, data, in_time in pool.map(wait, *zip(*attempts)):
            equal((attempt, data, in_time), (attempt, b"", True))


@check("health checks, which connect and close, leave nothing behind")
def health_checks():
    def descriptors():
        return len(os.listdir(f"/proc/{PID}/fd"))

    before = descriptors()
    for sent in (b"", V1[:7], V1, V2[:13], v2(LOCAL, UNSPECIFIED), b"PROXY UNKNOWN\r\n"):
        for reset in (False, True):
            for _ in range(20):
                for address in (PROXIED, PROXIED_TLS):
                    with connected(address) as stream:
                        stream.sendall(sent)
                        if reset:
                            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    equal(whoami(V1)[0], CLIENT)
    equal(tls_whoami(V1, len(V1)), SECURE_CLIENT)
    deadline = time.monotonic() + TIMEOUT
    while descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    equal(descriptors() - before, 0)


run("headers")
