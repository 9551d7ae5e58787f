"""Peers that do not read, ignore a close, disconnect abruptly, or connect in large numbers."""

import socket
import struct
import threading
import time

from attacker import CLOSE, PING, TEXT, Client, Disconnected, frame
from glibc_heap import freed_bytes
from registry import check

MIB = 1 << 20
NORMAL = frame(CLOSE, struct.pack("!H", 1000))


def send_until_blocked(client, data, limit):
    """Sends `data` repeatedly until the socket blocks or `limit` bytes are sent. Returns the number of bytes sent."""
    client.stream.settimeout(0.5)
    sent = 0
    try:
        while sent < limit:
            sent += client.stream.send(data)
    except (TimeoutError, OSError):
        pass
    return sent


@check("a flood of pings from a client that does not read accumulates no memory", max_growth=8)
def ping_flood(server):
    with Client(server.address, receive_buffer=4096) as client:
        client.stream.settimeout(2)
        pings = frame(PING, b"x" * 125) * 100
        try:
            for _ in range(2000):
                client.stream.sendall(pings)
        except (TimeoutError, OSError):
            pass
        server.check_serving()


@check("a client that does not read its echoes is no longer read from", max_growth=64)
def slow_reader(server):
    with Client(server.address, receive_buffer=4096) as client:
        send_until_blocked(client, frame(TEXT, b"x" * 65_000), 160 * MIB)
        server.check_serving()


@check("100 clients that do not read their echoes are no longer read from", max_growth=256)
def slow_readers_many(server):
    clients = [Client(server.address, receive_buffer=4096) for _ in range(100)]
    data = frame(TEXT, b"x" * 65_000)
    threads = [threading.Thread(target=send_until_blocked, args=(client, data, 20 * MIB)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.check_serving()
    for client in clients:
        client.close()


@check("a client that resumes reading gets all echoes in order, or the end of the connection")
def stuck_reader_dropped_or_held(server):
    with Client(server.address, receive_buffer=4096) as client:
        sent = 0
        client.stream.settimeout(0.5)
        try:
            while sent < 2000:
                client.stream.sendall(frame(TEXT, b"%06d" % sent + b"x" * 20_000))
                sent += 1
        except (TimeoutError, OSError):
            pass  # the server stopped reading; the last frame may be incomplete
        time.sleep(1)
        try:
            for number in range(sent):
                if client.message()[:6] != b"%06d" % number:
                    raise AssertionError(f"{number} is missing")
        except Disconnected:
            pass


@check("a peer that answers no pings is disconnected", parallel=True)
def dead_peer_dropped(server):
    with Client(server.address) as client:
        client.check_end_within(45)


@check("a reset in the middle of a frame leaves nothing behind")
def rst_mid_frame(server):
    for length in range(1, 20):
        client = Client(server.address)
        client.send(frame(TEXT, b"x" * 200)[:length])
        client.reset()


@check("a reset while echoes are in flight leaves nothing behind")
def rst_while_echoing(server):
    for _ in range(20):
        client = Client(server.address)
        send_until_blocked(client, frame(TEXT, b"x" * 60_000), MIB)
        client.reset()


@check("a half-closed connection is closed by the server")
def half_close(server):
    with Client(server.address) as client:
        client.send(frame(TEXT, b"last words"))
        client.message()
        client.stream.shutdown(socket.SHUT_WR)
        client.check_end_within(10)


@check("EOF without a close frame leaves nothing behind")
def fin_without_close(server):
    for _ in range(50):
        Client(server.address).close()


@check("a peer that ignores the server's close frame is disconnected after the timeout", parallel=True)
def close_ignored_by_client(server):
    with Client(server.address) as client:
        client.send(frame(3, b""))  # a reserved opcode: the server fails the connection
        if client.close_code() != 1002:
            raise AssertionError("no close frame with code 1002 arrives")
        # The client keeps the connection open and sends nothing: the server must not wait without a timeout.
        if not server.has(client):
            raise AssertionError("the server disconnects without waiting")
        started = time.monotonic()
        while server.has(client):
            if time.monotonic() - started > 10:
                raise AssertionError("still connected after 10 s")
            time.sleep(0.05)
        seconds = time.monotonic() - started
        server.figures["a peer that ignores a close is disconnected after"] = f"{seconds:.2f} s, limit 5"


@check("a peer that keeps sending after a protocol violation is disconnected after the timeout", parallel=True)
def violator_not_leaving(server):
    with Client(server.address) as client:
        client.send(frame(3, b""))
        started = time.monotonic()
        try:
            while time.monotonic() < started + 15:
                client.send(frame(TEXT, b"x" * 1000))
                time.sleep(0.05)
        except (Disconnected, OSError):
            seconds = time.monotonic() - started
            server.figures["a peer that sends after a violation is disconnected after"] = f"{seconds:.2f} s, limit 5"
            return
        raise AssertionError("still connected after 15 s")


@check("3000 simultaneous connections are accepted", max_growth=48)
def churn_3000(server):
    count = 3000 if not server.address.tls else 300
    sockets, before, started = [], server.descriptors(), time.monotonic()
    for _ in range(count):
        sockets.append(server.address.tcp())
    connected = time.monotonic() - started
    while server.descriptors() < before + count:
        if time.monotonic() > started + 20:
            accepted = server.descriptors() - before
            raise AssertionError(f"{accepted} of {count} connections are accepted after 20 s")
        time.sleep(0.002)
    accepted = time.monotonic() - started - connected
    figure = f"connected in {connected:.2f} s, accepted {accepted:.3f} s later"
    server.figures[f"{count} simultaneous connections"] = figure
    for stream in sockets:
        stream.close()
    server.check_serving()


@check("short connections leave nothing behind", max_growth=16)
def churn_handshakes(server):
    def churn(count):
        for _ in range(count):
            with Client(server.address) as client:
                client.send(NORMAL)

    churn(100)
    server.check_descriptors()
    memory, count = server.memory(), 10_000 if not server.address.tls else 1000
    churn(count)
    server.check_descriptors()
    growth = (server.memory() - memory) / MIB
    server.figures[f"{count} short connections leave"] = f"{growth:.2f} MiB, no descriptors"
    if growth > 1:
        raise AssertionError(f"the memory has grown by {growth:.2f} MiB after {count} connections")


@check("a client that sends without pause does not starve other clients")
def greedy_neighbour(server):
    before = len(server.latencies)
    with Client(server.address) as client:
        until = time.monotonic() + 3
        burst = frame(TEXT, b"x") * 5000
        reader = threading.Thread(target=drain, args=(client, until + 1))
        reader.start()
        try:
            while time.monotonic() < until:
                client.send(burst)
        except (Disconnected, OSError):
            pass
        reader.join()
    latencies = server.latencies[before:]
    if not latencies or max(latencies) > 2:
        raise AssertionError(f"the bystander waited {max(latencies, default=None)} s")


def drain(client, until):
    while time.monotonic() < until:
        try:
            if not client.receive(0.2):
                return
        except (TimeoutError, OSError, Disconnected):
            pass


@check("a server without free descriptors is idle, serves open connections, and recovers when some are free", last=True)
def descriptors_exhausted(server):
    import resource

    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    waiting = []
    try:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 20, hard))
        for _ in range(60):
            waiting.append(server.address.tcp())
        time.sleep(0.5)
        load = server.cpu_load(2)
        if load > 0.05 + server.baseline_load:
            raise AssertionError(f"the CPU load is {load:.0%}")
        before = len(server.latencies)
        time.sleep(0.2)
        if len(server.latencies) == before:
            raise AssertionError("open connections are not served")
    finally:
        for stream in waiting:
            stream.close()
    started = time.monotonic()
    server.check_serving()
    if time.monotonic() - started > 2:
        raise AssertionError("new connections are not served within 2 s")
    recovery = time.monotonic() - started
    server.figures["without free descriptors"] = f"{load:.1%} CPU load; recovers {recovery:.3f} s after some are free"
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))


@check("the server is idle after all other checks", last=True)
def quiet_after_abuse(server):
    server.check_descriptors()
    server.end_bystander()
    load = server.cpu_load(3)
    if load > 0.01:
        raise AssertionError(f"the CPU load is {load:.1%} without clients")


@check("memory is returned to the system after all other checks", last=True)
def memory_given_back(server):
    server.end_bystander()
    time.sleep(5)
    allocator, limit = server.allocator
    left = (server.memory() - server.initial_memory) / MIB
    # By its own rules glibc keeps memory that the program has freed.
    freed = freed_bytes(server.pid) / MIB if allocator.startswith("glibc") else 0
    of_these = f", of which {freed:.1f} are freed memory that the allocator keeps" if freed else ""
    server.figures[f"memory five seconds after the last check, with {allocator}"] = f"{left:+.1f} MiB{of_these}"
    if left - freed > limit:
        raise AssertionError(f"{left:.1f} MiB more than at the start{of_these}")
