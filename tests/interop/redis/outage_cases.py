"""One process without Redis: its clients, its memory and processor time, and what is subscribed afterwards."""

import os
import time

from fakes import Fake, silent
from log_cases import require_outage_is_logged
from registry import require, variants, wait_until
from servers import Redis, free_port, wait_linked
from websocket import same

MIB = 1 << 20


def garbage(peer):
    """Answers as no Redis does."""
    answers = (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", os.urandom(4096), b"\r\n\r\n\r\n", b"\0" * 100)
    peer.write(answers[peer.number % len(answers)])
    silent(peer)


class Outage:
    """How Redis goes away, and how it returns. `begin` is None if it was never there."""

    def __init__(self, begin, end, fake=None):
        self.begin, self.end, self.fake = begin, end, fake


def replace(serve):
    """Ends Redis and starts a fake on its port."""
    def begin(run, redis):
        redis.kill()
        redis.fake = run.enter_context(Fake(redis.port, serve))

    return begin


def start_instead(redis):
    redis.fake.__exit__()
    return redis.start()


OUTAGES = {
    "was_killed": Outage(lambda run, redis: redis.kill(), Redis.start),
    "is_stopped": Outage(lambda run, redis: redis.stop(), Redis.resume),
    "was_replaced_by_garbage": Outage(replace(garbage), start_instead),
    "was_replaced_by_silence": Outage(replace(silent), start_instead),
    "was_never_there": Outage(None, Redis.start),
    "was_garbage_from_the_start": Outage(None, start_instead, garbage),
    "was_silent_from_the_start": Outage(None, start_instead, silent),
}


@variants("clients_are_served_while_redis_{}_and_joined_within_5_s_after_it_returns", OUTAGES, limit=100)
def outage(run, how):
    port = free_port()
    if how.fake:
        fake = run.enter_context(Fake(port, how.fake))
    redis = run.redis(port=port, start=how.begin is not None)
    if how.fake:
        redis.fake = fake
    began = time.monotonic()
    first = run.multicast(redis=redis.url, prefix="p:", threads=2)
    second = run.multicast(redis=redis.url, prefix="p:")
    a, local, b = run.client(first, "/one"), run.client(first, "/one"), run.client(second, "/one")
    leaves_early, flood, reader = run.client(first, "/leaves"), run.client(first, "/flood"), run.client(first, "/flood")
    if how.begin:
        wait_until(lambda: redis.channels() == {b"p:one", b"p:leaves", b"p:flood"}, 5, lambda: f"{redis.channels()}")
        wait_until(lambda: redis.subscribers("p:one") == 2, 5, "SUBSCRIBE")
        wait_linked(a, b)
        local.wait_for(len(a.messages))
        a.take(), local.take()
    publish(flood, reader, 4 * MIB, first)
    resident = first.memory()
    messages = [f"m{number}" for number in range(600)]
    a.send(*messages[:100])
    if how.begin:
        began = time.monotonic()
        how.begin(run, redis)
    a.send(*messages[100:300])
    grown = publish(flood, reader, 15 * MIB, first) - resident
    slowest = 0
    # The loss or a failed attempt. Before, a line may tell that Redis takes too little.
    first.wait_line("redis.*(lost:|attempt|answer|closed|timed out)", 40, began)
    run.note(f"the first log line after {time.monotonic() - began:.1f} s")
    grown = max(grown, publish(flood, reader, 15 * MIB, first) - resident)
    for message in messages[300:]:
        sent = time.monotonic()
        a.send(message)
        local.wait_message(message)
        slowest = max(slowest, time.monotonic() - sent)
    for client in (a, local):
        wait_until(lambda: messages[-1] in client.messages, 5, "the last message")
        same([m for m in client.messages if not m.startswith("probe")], messages, "a client of the process")
    run.note(f"memory grew by {grown / MIB:.1f} MiB, slowest message {slowest * 1000:.0f} ms")
    require(grown < 16 * MIB, f"memory grew by {grown / MIB:.1f} MiB")
    require(slowest < 0.5, f"a local message took {slowest:.2f} s")
    leaves_early.close()
    opened = run.client(first, "/opened")
    run.client(first, "/flap").cut()
    run.client(first, "/returns").close()
    run.client(first, "/returns")
    share = first.cpu_share(6)
    run.note(f"{share:.1%} CPU")
    require(share < 0.05, f"{share:.1%} CPU")
    back = how.end(redis)

    def left():
        return max(0.05, back + 5 - time.monotonic())

    wait_linked(a, b, left())
    wait_linked(b, a, left())
    expected = {b"p:one", b"p:flood", b"p:opened", b"p:returns"}
    wait_until(lambda: redis.channels() == expected, left(), lambda: f"subscribed: {redis.channels()}")
    run.note(f"joined {time.monotonic() - back:.1f} s after the return")
    for channel in expected:
        count = 2 if channel == b"p:one" else 1
        subscribers = redis.subscribers(channel)
        require(subscribers == count, f"{channel}: {subscribers} subscribers, not {count}")
    redis.publish("p:opened", "foreign")
    require(opened.wait_message("foreign", 2), "a path opened during the outage gets no foreign payload")
    a.take(), b.take(), local.take()
    a.send("x", "x", "x")
    b.wait_for(3)
    redis.publish("p:one", "x", "x", "fence")
    for client in (a, b, local):
        got = [message for message in client.take("fence") if not message.startswith("probe")]
        require(got == ["x"] * 5, f"three own x and two foreign x after the return: {got}")
    require(len(redis.clients()) <= 6, f"{len(redis.clients())} connections after the return")
    require_outage_is_logged(run, first, redis.address, began, back)
    status, seconds = first.terminate()
    require(status == 0 and seconds < 5, f"SIGTERM after the outage: status {status} after {seconds:.1f} s")


def publish(sender, reader, octets, server):
    """Sends messages of 16 KiB, at most 1 MiB ahead of `reader`. Returns the most resident memory meanwhile."""
    most = 0
    for _ in range(octets // MIB):
        sender.send(*[os.urandom(8192).hex() for _ in range(64)])
        for client in (sender, reader):
            client.wait_for(64)
            client.take()
        most = max(most, server.memory())
    return most
