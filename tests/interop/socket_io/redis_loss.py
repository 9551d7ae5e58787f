"""Two servers at a Redis that is killed and started again. Started by ./run.

    python3 redis_loss.py EXAMPLE
"""

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
from redis_process import RedisServer  # noqa: E402
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


@check("while Redis is away a server serves its own clients, and questions end with an error")
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


@check("under load, a Redis that is killed twice loses messages, and brings none twice or out of order")
def load(redis, one, other):
    sender, listener = joined(one), joined(other)
    received, is_done = [], threading.Event()
    threading.Thread(target=events, args=(listener, "n", received), daemon=True).start()
    sent = 0

    def send():
        nonlocal sent
        while not is_done.is_set():
            sender.send("42" + json.dumps(["emit", {"event": "n", "from": "socket", "args": [sent]}]))
            sent += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    until(lambda: len(received) > 100)
    for _ in range(2):
        redis.kill()
        time.sleep(0.3)
        redis.start()
        before = len(received)
        # Tried again at least every half second.
        until(lambda: len(received) > before + 100, 5)
    is_done.set()
    thread.join()
    until(lambda: received[-1] == sent - 1)
    equal(received, sorted(set(received)))
    sender.socket.close()
    listener.socket.close()


with RedisServer() as server, ExampleServer(sys.argv[1], "abuse", "--redis", server.url) as first, \
        ExampleServer(sys.argv[1], "abuse", "--redis", server.url) as second:
    run("redis", lambda body: body(server, first, second))
