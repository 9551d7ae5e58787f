"""PyPI's server library and a plain client. Started by ./run.

    python python.py URL
"""

import json
import pathlib
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).resolve().parent / "peers"))
import pusher  # noqa: E402
import websocket  # noqa: E402
from checks import check, equal, run  # noqa: E402

URL = urllib.parse.urlsplit(sys.argv[1])


def library(secret="secret"):
    return pusher.Pusher(app_id="1", key="key", secret=secret, ssl=False, host=URL.hostname, port=URL.port)


class Client:
    """A client of the protocol."""

    def __init__(self):
        self.socket = websocket.create_connection(f"ws://{URL.netloc}/app/key?protocol=7", timeout=5)
        self.id = json.loads(self.next()["data"])["socket_id"]

    def next(self):
        return json.loads(self.socket.recv())

    def subscribe(self, channel, member=None):
        data = library().authenticate(channel, self.id, member) if channel.startswith(("private-", "presence-")) else {}
        self.socket.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": channel, **data}}))
        answer = self.next()
        equal(answer["event"], "pusher_internal:subscription_succeeded")
        return json.loads(answer["data"])

    def close(self):
        self.socket.close()


@check("events arrive, but not at the excluded connection")
def trigger():
    one, other = Client(), Client()
    for client in (one, other):
        client.subscribe("private-python")
    equal(library().trigger("private-python", "e", {"text": "é"}, one.id), {})
    equal(library().trigger(["private-python", "elsewhere"], "last", "x"), {})
    equal(json.loads(other.next()["data"]), {"text": "é"})
    for client in (one, other):
        equal(client.next(), {"event": "last", "channel": "private-python", "data": "x"})
        client.close()


@check("a batch arrives in its order")
def batch():
    client = Client()
    client.subscribe("python-batch")
    library().trigger_batch([{"channel": "python-batch", "name": "e", "data": str(number)} for number in range(10)])
    equal([client.next()["data"] for _ in range(10)], [str(number) for number in range(10)])
    client.close()


@check("channels and users are told")
def channels():
    client = Client()
    members = client.subscribe("presence-python", {"user_id": "7", "user_info": {"name": "Ann"}})
    equal(members, {"presence": {"count": 1, "ids": ["7"], "hash": {"7": {"name": "Ann"}}}})
    equal(library().channels_info("presence-py", ["user_count"]), {"channels": {"presence-python": {"user_count": 1}}})
    answer = library().channel_info("presence-python", ["user_count", "subscription_count"])
    equal(answer, {"occupied": True, "user_count": 1, "subscription_count": 1})
    equal(library().users_info("presence-python"), {"users": [{"id": "7"}]})
    client.close()


@check("another secret is not authorized")
def secret():
    try:
        library("other").trigger("a", "e", "x")
    except pusher.errors.PusherForbidden:
        raise AssertionError("403") from None
    except pusher.errors.PusherBadAuth:
        return
    raise AssertionError("it was accepted")


run("python")
