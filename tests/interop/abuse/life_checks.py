"""Peers that do not read, do not leave, break off, or come in crowds."""

import socket
import struct
import threading
import time

from attacker import CLOSE, PING, TEXT, Client, Cut, frame, request
from registry import check

MIB = 1 << 20
NORMAL = frame(CLOSE, struct.pack("!H", 1000))


def pushed(client, data, most):
    """Sends as much as is taken, and says how much that was."""
    client.stream.settimeout(0.5)
    sent = 0
    try:
        while sent < most:
            sent += client.stream.send(data)
    except (TimeoutError, OSError):
        pass
    return sent


@check("pings whose pongs nobody reads cost nothing", grows=8)
def ping_flood(server):
    with Client(server.address, receive_buffer=4096) as client:
        client.stream.settimeout(2)
        pings = frame(PING, b"x" * 125) * 100
        try:
            for _ in range(2000):
                client.stream.sendall(pings)
        except (TimeoutError, OSError):
            pass
        server.serves()


@check("a reader that does not read is held back", grows=64)
def slow_reader(server):
    with Client(server.address, receive_buffer=4096) as client:
        pushed(client, frame(TEXT, b"x" * 65_000), 160 * MIB)
        server.serves()


@check("a hundred readers that do not read are held back", grows=256)
def slow_readers_many(server):
    clients = [Client(server.address, receive_buffer=4096) for _ in range(100)]
    threads = [threading.Thread(target=pushed, args=(client, frame(TEXT, b"x" * 65_000), 20 * MIB)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.serves()
    for client in clients:
        client.close()


@check("a reader that wakes up finds all in order, or the end")
def stuck_reader_dropped_or_held(server):
    with Client(server.address, receive_buffer=4096) as client:
        said = 0
        client.stream.settimeout(0.5)
        try:
            while said < 2000:
                client.stream.sendall(frame(TEXT, b"%06d" % said + b"x" * 20_000))
                said += 1
        except (TimeoutError, OSError):
            pass  # held; the last one may be cut in the middle
        time.sleep(1)
        try:
            for number in range(said):
                if client.message()[:6] != b"%06d" % number:
                    raise AssertionError(f"{number} is missing")
        except Cut:
            pass


@check("a peer that answers no ping is dropped", waits=True)
def dead_peer_dropped(server):
    with Client(server.address) as client:
        client.ends_within(45)


@check("a reset in the middle of a frame leaves nothing")
def rst_mid_frame(server):
    for cut in range(1, 20):
        client = Client(server.address)
        client.send(frame(TEXT, b"x" * 200)[:cut])
        client.reset()


@check("a reset while echoes are on the way leaves nothing")
def rst_while_echoing(server):
    for _ in range(20):
        client = Client(server.address)
        pushed(client, frame(TEXT, b"x" * 60_000), MIB)
        client.reset()


@check("a peer that ends its side is let go")
def half_close(server):
    with Client(server.address) as client:
        client.send(frame(TEXT, b"last words"))
        client.message()
        client.stream.shutdown(socket.SHUT_WR)
        client.ends_within(10)


@check("an end without a close frame leaves nothing")
def fin_without_close(server):
    for _ in range(50):
        Client(server.address).close()


@check("a peer that does not answer our close is left in time", waits=True)
def close_ignored_by_client(server):
    with Client(server.address) as client:
        client.send(frame(3, b""))  # which fails the connection
        if client.close_code() != 1002:
            raise AssertionError("no close frame comes")
        # It stays, and says nothing: the server must not wait for it for ever.
        if not server.has(client):
            raise AssertionError("it is gone at once")
        began = time.monotonic()
        while server.has(client):
            if time.monotonic() - began > 10:
                raise AssertionError("it is still there after 10 s")
            time.sleep(0.05)
        server.figures["a peer that ignores a close is left after"] = f"{time.monotonic() - began:.2f} s, of 5"


@check("a violator that goes on and on is left in time", waits=True)
def violator_not_leaving(server):
    with Client(server.address) as client:
        client.send(frame(3, b""))
        began = time.monotonic()
        try:
            while time.monotonic() < began + 15:
                client.send(frame(TEXT, b"x" * 1000))
                time.sleep(0.05)
        except (Cut, OSError):
            server.figures["a violator that goes on is left after"] = f"{time.monotonic() - began:.2f} s, of 5"
            return
        raise AssertionError("still connected after 15 s")


@check("three thousand that come at once are served", grows=48)
def churn_3000(server):
    count = 3000 if not server.address.tls else 300
    sockets, before, began = [], server.descriptors(), time.monotonic()
    for _ in range(count):
        sockets.append(server.address.tcp())
    connected = time.monotonic() - began
    while server.descriptors() < before + count:
        if time.monotonic() > began + 20:
            raise AssertionError(f"{server.descriptors() - before} of {count} are accepted after 20 s")
        time.sleep(0.002)
    server.figures[f"{count} at once"] = f"connected in {connected:.2f} s, accepted {time.monotonic() - began - connected:.3f} s later"
    for stream in sockets:
        stream.close()
    server.serves()


@check("handshakes that come and go leave nothing", grows=16)
def churn_handshakes(server):
    def churn(count):
        for _ in range(count):
            with Client(server.address) as client:
                client.send(NORMAL)

    churn(100)
    server.forgets()
    memory, count = server.memory(), 10_000 if not server.address.tls else 1000
    churn(count)
    server.forgets()
    more = (server.memory() - memory) / MIB
    server.figures[f"{count} handshakes and ends leave"] = f"{more:.2f} MiB, no descriptor"
    if more > 1:
        raise AssertionError(f"{more:.2f} MiB more after {count} connections")


@check("one who is greedy does not starve the others")
def greedy_neighbour(server):
    heard = len(server.waits)
    with Client(server.address) as client:
        until = time.monotonic() + 3
        burst = frame(TEXT, b"x") * 5000
        reader = threading.Thread(target=drained, args=(client, until + 1))
        reader.start()
        try:
            while time.monotonic() < until:
                client.send(burst)
        except (Cut, OSError):
            pass
        reader.join()
    waits = server.waits[heard:]
    if not waits or max(waits) > 2:
        raise AssertionError(f"the bystander waited {max(waits, default=None)} s")


def drained(client, until):
    while time.monotonic() < until:
        try:
            if not client.receive(0.2):
                return
        except (TimeoutError, OSError, Cut):
            pass


@check("a server without descriptors does not spin, serves those it has, and comes back by itself", last=True)
def descriptors_exhausted(server):
    import resource

    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    held, waiting = [], []
    try:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 20, hard))
        for _ in range(60):
            waiting.append(server.address.tcp())
        time.sleep(0.5)
        busy = server.busy(2)
        if busy > 0.05 + server.busy_by_itself:
            raise AssertionError(f"it is busy for {busy:.0%} of the time")
        heard = len(server.waits)
        time.sleep(0.2)
        if len(server.waits) == heard:
            raise AssertionError("those it has are not served")
    finally:
        for stream in waiting + held:
            stream.close()
    began = time.monotonic()
    server.serves()
    if time.monotonic() - began > 2:
        raise AssertionError("it took long to come back")
    server.figures["without descriptors"] = f"{busy:.1%} busy; served again {time.monotonic() - began:.3f} s after some are free"
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))


@check("after all this the server is quiet", last=True)
def quiet_after_abuse(server):
    server.forgets()
    server.hush()
    busy = server.busy(3)
    if busy > 0.01:
        raise AssertionError(f"it is busy for {busy:.1%} of the time with nobody there")


@check("after all this the memory is given back", last=True)
def memory_given_back(server):
    server.hush()
    until = time.monotonic() + 6
    allocator, most = server.allocator
    while server.memory() > server.memory_at_first + most * MIB:
        if time.monotonic() > until:
            left = (server.memory() - server.memory_at_first) / MIB
            raise AssertionError(f"{left:.1f} MiB more than at first")
        time.sleep(0.1)
    if until - time.monotonic() > 1:
        time.sleep(until - time.monotonic() - 1)
    left = (server.memory() - server.memory_at_first) / MIB
    server.figures[f"five seconds after it all, by {allocator}"] = f"{left:+.1f} MiB"
