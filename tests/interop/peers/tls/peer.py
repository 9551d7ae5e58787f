"""TLS of the echo example as OpenSSL's s_client, Python's ssl and the package websockets meet it; started by ../run.

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
DEADLINE = 20  # seconds, for each check

def trusting(version=None):
    context = ssl.create_default_context(cafile=CERTIFICATE)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


async def talk(context, count=1, **options):
    """So many clients at once, each with an echo; the version of TLS that the first has."""
    async with asyncio.timeout(DEADLINE):
        clients = [await connect(ECHO, ssl=context, **options) for _ in range(count)]
        for number, ws in enumerate(clients):
            await ws.send(f"client {number}")
        for number, ws in enumerate(clients):
            equal(await ws.recv(), f"client {number}")
        version = clients[0].transport.get_extra_info("ssl_object").version()
        for ws in clients:
            await ws.close()
        return version


def plain():
    return socket.create_connection((HOST, int(PORT)), DEADLINE)


def s_client(*options, send=b"", wait=0.5):
    """What s_client prints, and what the server says to `send`."""
    command = ["openssl", "s_client", "-connect", f"{HOST}:{PORT}", "-CAfile", CERTIFICATE, *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        process.stdin.write(send)
        process.stdin.flush()
        time.sleep(wait)
        return process.communicate(timeout=DEADLINE)[0]
    finally:
        process.kill()


@check("TLS 1.2 and 1.3 are spoken, and nothing older")
def versions():
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        equal(asyncio.run(talk(trusting(version))), name)
    output = s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    if b"Cipher is (NONE)" not in output:
        raise AssertionError(f"TLS 1.1 was taken: {output[-500:]!r}")


@check("s_client verifies the certificate, and gets an echo")
def echo():
    output = s_client("-quiet", "-no_ign_eof", "-verify_return_error", send=REQUEST + HELLO)
    if b"\r\n\r\n\x81\x05Hello" not in output:
        raise AssertionError(f"{output[-300:]!r}")
    if b"Verify return code: 0 (ok)" not in s_client():
        raise AssertionError("not verified")


@check("a certificate that is not trusted, or of another name, is refused")
def refused():
    for context, name in ((ssl.create_default_context(), HOST), (trusting(), "wrong.example")):
        try:
            asyncio.run(talk(context, server_hostname=name))
        except ssl.SSLCertVerificationError:
            continue
        raise AssertionError("it was trusted")


@check("sessions are resumed by tickets in both versions")
def resumed():
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context, session = trusting(version), None
        for number in range(3):
            with context.wrap_socket(plain(), server_hostname=HOST, session=session) as tls:
                equal(tls.session_reused, number > 0)
                tls.sendall(REQUEST + HELLO)
                while not tls.recv(4096).endswith(b"Hello"):
                    pass
                session = tls.session


@check("close_notify is sent after the closing handshake, and an end without it is taken")
def closing():
    for polite in (True, False):
        tls = trusting().wrap_socket(plain(), server_hostname=HOST, suppress_ragged_eofs=False)
        tls.sendall(REQUEST + b"\x88\x82\0\0\0\0\x03\xe8")
        received = b""
        while data := tls.recv(4096):  # a ragged end would raise here
            received += data
        if not received.endswith(b"\x88\x02\x03\xe8"):
            raise AssertionError(f"{received[-40:]!r}")
        if polite:
            tls.unwrap().close()
        else:
            tls.close()


@check("plain HTTP, garbage and a stalled handshake are no matter for others")
def others():
    stalled, silent = plain(), plain()
    stalled.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    for words in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x02\xff\xff", bytes(range(256)) * 20):
        with plain() as wrong:
            wrong.sendall(words)
            try:
                while wrong.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    asyncio.run(talk(trusting()))
    stalled.close()
    silent.close()


@check("200 clients at once shake hands and are served")
def crowd():
    asyncio.run(talk(trusting(), count=200))


run("tls")
