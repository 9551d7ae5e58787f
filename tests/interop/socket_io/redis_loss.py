"""Two servers at a Redis that is killed and started again, and at a cluster whose slots move. Started by ./run.

    python3 redis_loss.py EXAMPLE
"""

import contextlib
import json
import pathlib
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(sys.argv[0]).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]
from checks import check, equal, run  # noqa: E402
from example_server import ExampleServer  # noqa: E402
from node_process import NodeServer  # noqa: E402
from redis_process import RedisCluster, RedisServer  # noqa: E402
from socket_client import Client  # noqa: E402


def joined(server):
    client = Client(server.url)
    client.join()
    return client


def events(client, name, received):
    """Collects the first arguments of events until the connection ends."""
    try:
        while True:
            text = client.next()
            if text.startswith("42"):
                event, *arguments = json.loads(text[2:])
                if event == name:
                    received.append(arguments[0])
    except (OSError, EOFError, ValueError):
        pass


def until(condition, limit=10):
    last = time.monotonic() + limit
    while not condition() and time.monotonic() < last:
        time.sleep(0.02)
    assert condition()


def away(redis, one, other):
    sender, own = joined(one), joined(one)
    received = []
    threading.Thread(target=events, args=(own, "e", received), daemon=True).start()
    redis.kill()
    sender.ask("emit", {"event": "e", "args": [1]})
    until(lambda: received == [1])
    started = time.monotonic()
    answer, = sender.ask("fetch", {})
    assert "error" in answer and 4 < time.monotonic() - started < 7, answer
    redis.start()
    found = []

    def everybody():
        found[:] = sender.ask("fetch", {})[0:1]
        return isinstance(found[0], list)

    until(everybody)
    sender.socket.close()
    own.socket.close()


def under_load(one, other, disturb):
    """Broadcasts to a room by one server, while a client of another is in it. Calls `disturb` with what has come."""
    sender, listener = joined(one), joined(other)
    listener.ask("join", "load")
    received, is_done = [], threading.Event()
    threading.Thread(target=events, args=(listener, "n", received), daemon=True).start()
    sent = 0

    def send():
        nonlocal sent
        while not is_done.is_set():
            sender.send("42" + json.dumps(["emit", {"event": "n", "to": "load", "args": [sent]}]))
            sent += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    until(lambda: len(received) > 100)
    disturb(received)
    is_done.set()
    thread.join()
    until(lambda: received[-1] == sent - 1)
    equal(received, sorted(set(received)))
    sender.socket.close()
    listener.socket.close()


def load(redis, one, other):
    def disturb(received):
        for _ in range(2):
            redis.kill()
            time.sleep(0.3)
            redis.start()
            before = len(received)
            # Tried again at least every half second.
            until(lambda: len(received) > before + 100, 5)

    under_load(one, other, disturb)


@contextlib.contextmanager
def servers(redis, adapter):
    arguments = ["abuse", "--redis", redis.url, "--adapter", adapter]
    with ExampleServer(sys.argv[1], *arguments) as one, ExampleServer(sys.argv[1], *arguments) as other:
        yield one, other


def check_all(adapter):
    def with_servers(body):
        with RedisServer() as redis, servers(redis, adapter) as (one, other):
            body(redis, one, other)

    def with_node(is_ours_first):
        with RedisServer() as redis, servers(redis, adapter) as (ours, _), \
                NodeServer(HERE / "node_server.mjs", adapter, redis.url) as node:
            load(redis, *((ours, node) if is_ours_first else (node, ours)))

    title = "while Redis is away a server serves its own clients, and questions end with an error"
    check(f"{title} ({adapter})")(lambda: with_servers(away))
    title = "under load, a Redis that is killed twice brings nothing twice or out of order"
    check(f"{title} ({adapter})")(lambda: with_servers(load))
    check(f"{title} ({adapter}, ours to Node)")(lambda: with_node(True))
    check(f"{title} ({adapter}, Node to ours)")(lambda: with_node(False))


for name in ("pub-sub", "sharded", "streams"):
    check_all(name)


@check("under load, a slot that moves to other nodes brings no message twice or out of order")
def slot_moves():
    def disturb(received):
        for target in (cluster.nodes[1], cluster.nodes[2], cluster.nodes[0]):
            cluster.move_slot("socket.io#/#load#", target)
            before = len(received)
            until(lambda: len(received) > before + 100)

    with RedisCluster() as cluster, servers(cluster, "sharded") as (one, other):
        under_load(one, other, disturb)


run("redis")
