"""OpenSSL's s_client, Python's ssl and the package websockets as TLS clients of the echo example. Started by ../run.

    python peer.py SECURE_ECHO_URL CERTIFICATE
"""

import asyncio
import pathlib
import socket
import ssl
import subprocess
import sys
import time

from websockets.asyncio.client import connect

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from checks import check, equal, run  # noqa: E402

ECHO, CERTIFICATE = sys.argv[1:]
HOST, PORT = ECHO.split("//")[1].rstrip("/").split(":")
REQUEST = (f"GET / HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode()
HELLO = b"\x81\x85\0\0\0\0Hello"
TIMEOUT = 20  # seconds, for each check


def trusting_context(version=None):
    context = ssl.create_default_context(cafile=CERTIFICATE)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


async def exchange(context, count=1, **options):
    """Opens `count` simultaneous clients and checks an echo on each. Returns the TLS version of the first."""
    async with asyncio.timeout(TIMEOUT):
        clients = [await connect(ECHO, ssl=context, **options) for _ in range(count)]
        for number, ws in enumerate(clients):
            await ws.send(f"client {number}")
        for number, ws in enumerate(clients):
            equal(await ws.recv(), f"client {number}")
        version = clients[0].transport.get_extra_info("ssl_object").version()
        for ws in clients:
            await ws.close()
        return version


def tcp_connection():
    return socket.create_connection((HOST, int(PORT)), TIMEOUT)


def s_client(*options, send=b"", wait=0.5):
    """The output of s_client: its messages, and the response of the server to `send`."""
    command = ["openssl", "s_client", "-connect", f"{HOST}:{PORT}", "-CAfile", CERTIFICATE, *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        process.stdin.write(send)
        process.stdin.flush()
        time.sleep(wait)
        return process.communicate(timeout=TIMEOUT)[0]
    finally:
        process.kill()


@check("TLS 1.2 and 1.3 are supported, and older versions are refused")
def versions():
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        equal(asyncio.run(exchange(trusting_context(version))), name)
    output = s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    if b"Cipher is (NONE)" not in output:
        raise AssertionError(f"TLS 1.1 was accepted: {output[-500:]!r}")


@check("s_client verifies the certificate and gets an echo")
def echo():
    output = s_client("-quiet", "-no_ign_eof", "-verify_return_error", send=REQUEST + HELLO)
    if b"\r\n\r\n\x81\x05Hello" not in output:
        raise AssertionError(f"{output[-300:]!r}")
    if b"Verify return code: 0 (ok)" not in s_client():
        raise AssertionError("s_client did not verify the certificate")


@check("clients refuse an untrusted certificate, and a certificate for another host name")
def refused():
    for context, name in ((ssl.create_default_context(), HOST), (trusting_context(), "wrong.example")):
        try:
            asyncio.run(exchange(context, server_hostname=name))
        except ssl.SSLCertVerificationError:
            continue
        raise AssertionError("the client accepted the certificate")


@check("sessions are resumed with tickets in both versions")
def resumed():
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context, session = trusting_context(version), None
        for number in range(3):
            with context.wrap_socket(tcp_connection(), server_hostname=HOST, session=session) as tls:
                equal(tls.session_reused, number > 0)
                tls.sendall(REQUEST + HELLO)
                while not tls.recv(4096).endswith(b"Hello"):
                    pass
                session = tls.session


@check("the server sends close_notify after the closing handshake, and accepts EOF without one")
def closing():
    for send_close_notify in (True, False):
        tls = trusting_context().wrap_socket(tcp_connection(), server_hostname=HOST, suppress_ragged_eofs=False)
        tls.sendall(REQUEST + b"\x88\x82\0\0\0\0\x03\xe8")
        received = b""
        while data := tls.recv(4096):  # EOF without close_notify would raise an error here
            received += data
        if not received.endswith(b"\x88\x02\x03\xe8"):
            raise AssertionError(f"{received[-40:]!r}")
        if send_close_notify:
            tls.unwrap().close()
        else:
            tls.close()


@check("plain HTTP, invalid records and a stalled handshake do not affect other clients")
def other_clients():
    stalled, silent = tcp_connection(), tcp_connection()
    stalled.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x02\xff\xff", bytes(range(256)) * 20):
        with tcp_connection() as wrong:
            wrong.sendall(data)
            try:
                while wrong.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    asyncio.run(exchange(trusting_context()))
    stalled.close()
    silent.close()


@check("200 simultaneous clients are served")
def simultaneous_clients():
    asyncio.run(exchange(trusting_context(), count=200))


run("tls")
