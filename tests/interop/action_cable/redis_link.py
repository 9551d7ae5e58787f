"""The example `action_cable` and its Redis: what goes over the wire, a slow link, and an outage. Started by ./run.

    python3 redis_link.py EXAMPLE REDIS_PORT
"""

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]
from cable_client import Client  # noqa: E402
from checks import check, equal, run  # noqa: E402
from example_server import ExampleServer  # noqa: E402

EXAMPLE, REDIS_PORT = pathlib.Path(sys.argv[1]), sys.argv[2]
DELAY = 0.15  # seconds, of the slow link
BACK = 5  # seconds, until all is as before an outage


class Link:
    """A way to Redis whose answers can be delayed, and that can be cut."""

    def __init__(self):
        self.delay, self.is_cut, self.sockets = 0, False, set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.is_cut:
                client.close()
                continue
            redis = socket.create_connection(("127.0.0.1", int(REDIS_PORT)))
            self.sockets |= {client, redis}
            for source, target, is_answer in ((client, redis, False), (redis, client, True)):
                threading.Thread(target=self.carry, args=(source, target, is_answer), daemon=True).start()

    def carry(self, source, target, is_answer):
        with contextlib.suppress(OSError):
            while octets := source.recv(1 << 16):
                if is_answer and self.delay:
                    time.sleep(self.delay)
                target.sendall(octets)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.is_cut = True
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.sockets.clear()

    def mend(self):
        self.is_cut = False


def redis(*command):
    done = subprocess.run(["redis-cli", "-p", REDIS_PORT, *command], capture_output=True, text=True, check=True,
                          timeout=5)
    return done.stdout.splitlines()


def publish(stream, text):
    return int(redis("PUBLISH", f"app:{stream}", text)[0])


def subscriber(room, query=""):
    client = Client(server.url, query=query)
    client.subscribe(room=room)
    equal(client.next()["type"], "confirm_subscription")
    return client


def until(condition, seconds=BACK):
    last = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > last:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.02)


@check("a stream is subscribed once, with the prefix, and left with its last subscriber")
def one_subscription():
    clients = [subscriber("one") for _ in range(5)]
    equal(redis("PUBSUB", "NUMSUB", "app:chat:one"), ["app:chat:one", "1"])
    publish("chat:one", '{"body":1}')
    equal([client.next()["message"] for client in clients], [{"body": 1}] * 5)
    for client in clients:
        client.socket.close()
    until(lambda: redis("PUBSUB", "NUMSUB", "app:chat:one")[1] == "0")


@check("what is no JSON is dropped, and 500 publications keep their order")
def order():
    client = subscriber("order")
    for text in ("text", "", "{", '{"body":'):
        publish("chat:order", text)
    script = "for i = 0, 499 do redis.call('PUBLISH', 'app:chat:order', i) end"
    redis("EVAL", script, "0")
    equal([client.next()["message"] for _ in range(500)], list(range(500)))


@check("a subscription is confirmed only once Redis has answered, and misses nothing then")
def confirmed_when_live():
    with slow():
        client = Client(server.url)
        began = time.monotonic()
        client.subscribe(room="slow")
        equal(client.next()["type"], "confirm_subscription")
        if time.monotonic() - began < DELAY:
            raise AssertionError("confirmed before the answer of Redis")
        equal(publish("chat:slow", "7"), 1)
        equal(client.next()["message"], 7)


@contextlib.contextmanager
def slow():
    link.delay = DELAY
    try:
        yield
    finally:
        link.delay = 0


@check("a user is disconnected by a message on the own channel, and by nothing else")
def remote_disconnect():
    for text, reconnect in (('{"type":"disconnect"}', True), ('{"type":"disconnect","reconnect":false}', False)):
        client = Client(server.url, query="user=J%C3%B6rg%20%2B")
        until(lambda: redis("PUBSUB", "NUMSUB", "app:action_cable/Jörg +")[1] == "1")
        for odd in ("{}", "[]", "null", "7", "text", '{"type":"other"}', '{"type":7}'):
            publish("action_cable/Jörg +", odd)
        publish("action_cable/Jörg +", text)
        equal(client.next(), {"type": "disconnect", "reason": "remote", "reconnect": reconnect})
        try:
            raise AssertionError(client.next())
        except EOFError as ended:
            equal(ended.args, (1000,))


@check("while Redis is away, clients of one process hear each other, and all is back within 5 s")
def outage():
    ann, bob = subscriber("away"), subscriber("away")
    link.cut()
    time.sleep(0.3)
    late = Client(server.url)
    late.subscribe(room="late")
    ann.perform("speak", "away", body="local")
    equal([client.next()["message"]["body"] for client in (ann, bob)], ["local"] * 2)
    link.mend()
    began = time.monotonic()
    equal(late.next()["type"], "confirm_subscription")
    until(lambda: redis("PUBSUB", "NUMSUB", "app:chat:away")[1] == "1", BACK - (time.monotonic() - began))
    for room, clients in (("late", [late]), ("away", [ann, bob])):
        publish(f"chat:{room}", json.dumps({"body": room}))
        equal([client.next()["message"]["body"] for client in clients], [room] * len(clients))


link = Link()
with ExampleServer(EXAMPLE, "--redis", f"redis://127.0.0.1:{link.port}", "--channel-prefix", "app") as server:
    run("redis")
