"""What each program of the documents does, as a client sees it. A check raises if the program does something else."""

import contextlib
import http.client
import ssl
import threading
import urllib.request

from processes import PATIENCE, Missing, Process, await_that
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve


def socket(path="/", port=8080, scheme="ws", **options):
    return connect(f"{scheme}://127.0.0.1:{port}{path}", proxy=None, open_timeout=PATIENCE, close_timeout=2, **options)


def expect(peer, text):
    received = peer.recv(PATIENCE)
    if received != text:
        raise Missing(f"{text!r}, not {received!r}")


def expect_start(peer, text):
    received = peer.recv(PATIENCE)
    if not received.startswith(text):
        raise Missing(f"{text!r} at the start of {received!r}")


def get(path, port=8080):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
        return response.read().decode()


def post(path, text, port=8080):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", path, text)
        return connection.getresponse().status


def expect_html(path="/", text="<!doctype html>"):
    page = get(path)
    if text not in page:
        raise Missing(f"{text!r} in {page[:200]!r}")


def expect_accepted(path, text):
    status = post(path, text)
    if status != 202:
        raise Missing(f"status 202, not {status}")


def echo(port=8080, **options):
    with socket(port=port, **options) as peer:
        peer.send("hello")
        expect(peer, "hello")


def shared_topic(path="/", port=8080):
    with socket(path, port) as ann, socket(path, port) as bob:
        ann.send("hello")
        expect(bob, "hello")


def getting_started(_):
    expect_html(text="new WebSocket(")
    with socket() as ann:
        expect(ann, "guest 1 joined")
        with socket() as bob:
            expect(bob, "guest 2 joined")
            expect(ann, "guest 2 joined")
            ann.send("hello")
            expect(ann, "guest 1: hello")
            expect(bob, "guest 1: hello")
        expect(ann, "guest 2 left")


def a_server(_):
    with socket("/ann") as ann:
        expect(ann, "ann joined")
        with socket("/bob") as bob:
            expect(bob, "bob joined")
            expect(ann, "bob joined")
            bob.send("hello")
            expect(ann, "bob: hello")
            expect(bob, "bob: hello")
        expect(ann, "bob left")


def one_port(process):
    expect_html(text="<h1>hello</h1>")
    events = http.client.HTTPConnection("127.0.0.1", 8080, timeout=PATIENCE)
    with socket("/rooms/lobby") as member, contextlib.closing(events):
        events.request("GET", "/rooms/lobby/events", headers={"accept": "text/event-stream"})
        stream = events.getresponse()
        expect_accepted("/rooms/lobby", "hello")
        expect(member, "hello")
        for line in iter(stream.readline, b""):
            if line.strip() == b"data: hello":
                break
        else:
            raise Missing("the event")
    (process.folder / "public/file.txt").write_text("a file")
    expect_html("/static/file.txt", "a file")


def back_pressure(_):
    with socket() as peer:
        for line in range(20_000):
            expect(peer, f"line {line}")


def compression(_):
    with socket() as peer:
        if not peer.protocol.extensions:
            raise Missing("permessage-deflate")
    echo()


def deployment(_):
    echo()
    expect_html("/metrics", "# TYPE ")


def event_machine(_):
    shared_topic()


def handlers(process):
    with socket() as peer:
        peer.send("a")
        expect(peer, "1")
        peer.send("b")
        expect(peer, "2")
    process.await_text("2 messages;")


def http_page(_):
    expect_html(text="/rooms/lobby")
    with socket("/rooms/lobby") as member:
        expect_accepted("/rooms/lobby", "hello")
        expect(member, "hello")


def many_reactors(_):
    for _ in range(8):  # so that two reactors take part
        shared_topic("/room")


def migrating(_):
    with socket(port=9001) as ann, socket(port=9001) as bob:
        ann.send("hello")
        expect(bob, "hello")
        ann.send("bye")
        await_that("a close", lambda: is_closed(ann))


def is_closed(peer):
    try:
        peer.recv(0.1)
    except TimeoutError:
        return False
    except Exception:
        return True


def recording(process):
    echo()
    await_that("a recording", lambda: (process.folder / "incident.wsr").stat().st_size > 0)


def shared_state(_):
    with socket("/ann") as ann, socket("/bob") as bob:
        ann.send("nobody hello")
        expect(ann, "nobody is not here")
        bob.send("ann hello")
        expect(ann, "bob: hello")


def tls(_):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    echo(port=443, scheme="wss", ssl=context)


def topics(_):
    with socket("/EURUSD") as peer:
        expect_start(peer, "1.17")


def trouble(_):
    socket().close()


def pusher(_):
    with socket("/app/app-key?protocol=7&client=js&version=8.4.0", 6001, origin="https://example.com") as peer:
        expect_start(peer, '{"event":"pusher:connection_established"')


def rails(_):
    with socket("/cable", subprotocols=["actioncable-v1-json"], origin="https://example.com",
                additional_headers={"cookie": "user=ann"}) as peer:
        expect(peer, '{"type":"welcome"}')


def socket_io(_):
    packet = get("/socket.io/?EIO=4&transport=polling", 3000)
    if not packet.startswith('0{"sid"'):
        raise Missing(f"the handshake of Engine.IO, not {packet!r}")


def many_machines(process):
    shared_topic()
    with socket() as peer:
        peer.send("hello")  # the publisher gets its own message, so that it is subscribed
        expect(peer, "hello")
        with Process(process.redis_command, process.folder):
            expect(peer, "the server restarts at noon")


@contextlib.contextmanager
def playing_server(texts):
    """A server for the clients of the documents."""
    def play(peer):
        for text in texts:
            peer.send(text)
        with contextlib.suppress(ConnectionClosed):
            peer.recv()

    with serve(play, "127.0.0.1", 8080) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


# Page: port and check. The programs without a port are clients, or end by themselves.
SERVERS = {
    "README.md A server": (8080, a_server),
    "README.md One port": (8080, one_port),
    "src/guide/back_pressure.md": (8080, back_pressure),
    "src/guide/compression.md": (8080, compression),
    "src/guide/deployment.md": (8080, deployment),
    "src/guide/event_machine.md": (8080, event_machine),
    "src/guide/handlers.md": (8080, handlers),
    "src/guide/http.md": (8080, http_page),
    "src/guide/many_machines.md": (8080, many_machines),
    "src/guide/many_reactors.md": (8080, many_reactors),
    "src/guide/migrating.md": (9001, migrating),
    "src/guide/pusher.md": (6001, pusher),
    "src/guide/rails.md": (8080, rails),
    "src/guide/recording.md": (8080, recording),
    "src/guide/shared_state.md": (8080, shared_state),
    "src/guide/socket_io.md": (3000, socket_io),
    "src/guide/tls.md": (443, tls),
    "src/guide/topics.md": (8080, topics),
    "src/guide/trouble.md": (8080, trouble),
}
