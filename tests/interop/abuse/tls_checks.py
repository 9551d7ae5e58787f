"""TLS that never begins, stops half-way, or is none."""

import socket
import threading
import time

from attacker import TEXT, Client, frame, request
from registry import check

# A hello of TLS 1.2 that says it is longer than what comes.
HELLO = bytes.fromhex("160301020001000001fc0303") + b"x" * 100


def plain(server):
    """A connection to the port of TLS, without any."""
    client = Client.__new__(Client)
    client.address, client.buffer, client.inflater = server.address, b"", None
    client.stream = server.address.tcp()
    return client


@check("a hello that stops half-way is cut", waits=True, modes=("tls",))
def tls_stalled_hello_cut(server):
    with plain(server) as client:
        client.send(HELLO)
        client.ends_within(15)


@check("a connection that begins no TLS is cut", waits=True, modes=("tls",))
def tls_silent_tcp_cut(server):
    with plain(server) as client:
        client.ends_within(15)


@check("an end without close_notify ends the connection", modes=("tls",))
def tls_truncation(server):
    for _ in range(20):
        client = Client(server.address)
        client.send(frame(TEXT, b"x" * 100)[:50])
        # The stream beneath, without a word of TLS.
        socket.socket(fileno=client.stream.detach()).close()


@check("plain HTTP where TLS is spoken is refused", modes=("tls",))
def tls_plain_text_refused(server):
    with plain(server) as client:
        client.send(request())
        status, head = client.answer()
        if status == 101:
            raise AssertionError("taken")


@check("records that are none end their connection", modes=("tls",))
def tls_garbage_refused(server):
    for data in (b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\x17\x03\x03\x00\x05hello", b"\x15\x03\x03\x00\x02\x02\x00",
                 b"\x16\x03\x01\x00\x00" * 1000, bytes(2000)):
        with plain(server) as client:
            try:
                client.send(data)
            except Exception:
                pass
            client.ends_within(15)


@check("two hundred handshakes at once do not hold up who is there", grows=32, modes=("tls",))
def tls_handshake_flood(server):
    heard = len(server.waits)
    clients = [plain(server) for _ in range(200)]
    for client in clients:
        client.send(HELLO)
    time.sleep(0.5)
    for client in clients:
        client.close()
    if not server.waits[heard:] or max(server.waits[heard:]) > 2:
        raise AssertionError("the bystander waits")


@check("full handshakes without end do not hold up who is there", grows=32, modes=("tls",))
def tls_handshake_storm(server):
    heard, until, made = len(server.waits), time.monotonic() + 3, []

    def storm():
        while time.monotonic() < until:
            server.address.stream().close()
            made.append(1)

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waits = server.waits[heard:]
    if not waits or max(waits) > 2:
        raise AssertionError("the bystander waits")
    server.figures["full handshakes"] = f"{len(made) / 3:.0f} a second, the bystander within {max(waits) * 1e3:.1f} ms"
