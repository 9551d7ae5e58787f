"""python-socketio and python-engineio against `socket-protocol` and `abuse`. Started by ./run.

    python python.py PROTOCOL_URL ABUSE_URL
"""

import pathlib
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).resolve().parent / "peers"))
import socketio  # noqa: E402
from checks import check, equal, run  # noqa: E402

PROTOCOL, ABUSE = sys.argv[1:]
WAYS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}


class Client(socketio.Client):
    """A client whose events may be awaited."""

    def __init__(self, url, transports, **options):
        super().__init__(reconnection=False)
        self.events, self.changed = [], threading.Condition()
        self.on("*", self.note)
        self.connect(url, transports=transports, wait_timeout=5, **options)

    def note(self, event, *arguments):
        with self.changed:
            self.events.append((event, *arguments))
            self.changed.notify()

    def until(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.events) >= count, 10), self.events
            return self.events[:count]


def everyway(way, transports):
    @check(f"events, acks and bytes ({way})")
    def events():
        client = Client(PROTOCOL, transports, auth={"token": "x"})
        equal(client.until(1), [("auth", {"token": "x"})])
        client.emit("message", ("é", b"\x01\x02", {"deep": [b"\x03"]}))
        equal(client.until(2)[1], ("message-back", "é", b"\x01\x02", {"deep": [b"\x03"]}))
        equal(client.call("message-with-ack", (1, b"\x04"), timeout=5), (1, b"\x04"))
        client.disconnect()

    @check(f"100 events come back in their order ({way})")
    def order():
        client = Client(PROTOCOL, transports)
        for number in range(100):
            client.emit("message", number)
        equal(client.until(101)[1:], [("message-back", number) for number in range(100)])
        client.disconnect()

    @check(f"rooms and namespaces ({way})")
    def rooms():
        client = socketio.Client(reconnection=False)
        received = threading.Event()
        # The server can recover sockets: each event ends with its offset.
        client.on("e", lambda value, offset: received.set(), namespace="/custom")
        client.connect(ABUSE, transports=transports, namespaces=["/", "/custom"], wait_timeout=5)
        client.call("join", "x", namespace="/custom", timeout=5)
        client.call("emit", {"to": "x", "event": "e", "args": [1]}, namespace="/custom", timeout=5)
        assert received.wait(5)
        equal(client.call("room-size", "x", timeout=5), 0)
        client.disconnect()


for name, ways in WAYS.items():
    everyway(name, ways)


@check("a client that is refused gets the error")
def refused():
    client = socketio.Client(reconnection=False)
    errors = []
    client.on("connect_error", errors.append)
    try:
        client.connect(ABUSE, auth={"refuse": True}, wait_timeout=3)
        raise AssertionError("the client was let in")
    except socketio.exceptions.ConnectionError:
        pass
    equal(errors[0], {"message": "refused", "data": {"code": 7}})


run("python-socketio")
