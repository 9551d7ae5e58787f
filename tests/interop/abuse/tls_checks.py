"""TLS handshakes that never start or stop halfway, invalid records, and floods of handshakes."""

import socket
import threading
import time

from attacker import TEXT, Client, frame, request
from registry import check

# A TLS 1.2 ClientHello whose record length is greater than the data that follows.
INCOMPLETE_HELLO = bytes.fromhex("160301020001000001fc0303") + b"x" * 100


def plain(server):
    """A connection to the TLS port that does not speak TLS."""
    client = Client.__new__(Client)
    client.address, client.buffer, client.inflater = server.address, b"", None
    client.stream = server.address.tcp()
    return client


@check("a TLS handshake that stops halfway is disconnected", parallel=True, modes=("tls",))
def tls_stalled_hello_cut(server):
    with plain(server) as client:
        client.send(INCOMPLETE_HELLO)
        client.check_end_within(15)


@check("a connection that never starts TLS is disconnected", parallel=True, modes=("tls",))
def tls_silent_tcp_cut(server):
    with plain(server) as client:
        client.check_end_within(15)


@check("EOF without close_notify ends the connection", modes=("tls",))
def tls_truncation(server):
    for _ in range(20):
        client = Client(server.address)
        client.send(frame(TEXT, b"x" * 100)[:50])
        # Closes the TCP stream without a close_notify.
        socket.socket(fileno=client.stream.detach()).close()


@check("plain HTTP on the TLS port is refused", modes=("tls",))
def tls_plain_text_refused(server):
    with plain(server) as client:
        client.send(request())
        status, head = client.response()
        if status == 101:
            raise AssertionError("the request is accepted")


@check("an invalid TLS record ends its connection", modes=("tls",))
def tls_garbage_refused(server):
    for data in (b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\x17\x03\x03\x00\x05hello", b"\x15\x03\x03\x00\x02\x02\x00",
                 b"\x16\x03\x01\x00\x00" * 1000, bytes(2000)):
        with plain(server) as client:
            try:
                client.send(data)
            except Exception:
                pass
            client.check_end_within(15)


@check("200 simultaneous TLS handshakes do not delay other clients", max_growth=32, modes=("tls",))
def tls_handshake_flood(server):
    before = len(server.latencies)
    clients = [plain(server) for _ in range(200)]
    for client in clients:
        client.send(INCOMPLETE_HELLO)
    time.sleep(0.5)
    for client in clients:
        client.close()
    latencies = server.latencies[before:]
    if not latencies or max(latencies) > 2:
        raise AssertionError(f"the bystander waited {max(latencies, default=None)} s")


@check("a continuous flood of full TLS handshakes does not delay other clients", max_growth=32, modes=("tls",))
def tls_handshake_storm(server):
    before, until, completed = len(server.latencies), time.monotonic() + 3, []

    def handshakes():
        while time.monotonic() < until:
            server.address.stream().close()
            completed.append(1)

    threads = [threading.Thread(target=handshakes) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies = server.latencies[before:]
    if not latencies or max(latencies) > 2:
        raise AssertionError(f"the bystander waited {max(latencies, default=None)} s")
    rate, longest = len(completed) / 3, max(latencies)
    server.figures["full handshakes"] = f"{rate:.0f} per second, bystander latency at most {longest * 1e3:.1f} ms"
