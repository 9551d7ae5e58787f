"""Connections to Redis that fail while messages are on their way."""

import random
import re
import threading
import time

from fakes import FakeRedis, Proxy
from registry import case, require, shown, variants, wait_until
from servers import wait_joined, wait_linked
from websocket import same


LOSS = "redis.*(lost:|attempt|answer|closed|timed out)"


class Stream:
    """A thread that sends numbered messages through a client until it is stopped."""

    def __init__(self, client, pause=0.001, padding=""):
        self.sent, self._client, self._pause, self._stop = [], client, pause, False
        self._padding = padding
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def stop(self):
        self._stop = True
        self._thread.join()
        return self.sent

    def _send(self):
        while not self._stop:
            message = f"n{len(self.sent)}{self._padding}"
            self._client.send(message)
            self.sent.append(message)
            time.sleep(self._pause)


def numbered(client):
    """The messages of a `Stream` among the messages of a client."""
    return [message for message in client.messages[:] if message[:1] == "n"]


def require_once(sent, local, remote, when):
    """Local clients have each message once and in order; clients of other processes none twice, and in order."""
    barrier = f"barrier {time.monotonic_ns()}"  # behind all messages of the stream
    local.send(barrier)
    require(remote.wait_message(barrier), f"{when}: a message sent after the others did not arrive")
    wait_until(lambda: len(numbered(local)) >= len(sent), 10, f"{when}: local messages")
    same(numbered(local), sent, f"{when}, at the sender's process")
    got = [int(message[1:].split()[0]) for message in numbered(remote)]
    twice = [number for number, after in zip(got, got[1:]) if after <= number]
    require(not twice, f"{when}: the other process got {len(got)} of {len(sent)}, not rising after {twice[:5]}")


def require_last(local, remote, expected, when):
    """The last messages before the fence are these foreign ones, though own ones were equal."""
    for where, client in (("the sender's process", local), ("the other process", remote)):
        last = client.take("fence")[-len(expected) - 3 :]
        require(last[-len(expected) :] == expected, f"{when}: foreign payloads {expected} are not the last ones in "
                                                    f"{where}: {shown(last)}, {shown(client.messages[:5])}")


@case
def when_either_connection_fails_both_are_replaced_and_nothing_is_doubled(run):
    redis = run.redis()
    second = run.multicast(redis=redis.url)
    b = run.client(second, "/either")
    wait_until(lambda: redis.subscribers("either") == 1, 5, "SUBSCRIBE")
    of_second = {client["id"] for client in redis.clients()}
    first = run.multicast(redis=redis.url, threads=2)
    a = run.client(first, "/either")
    wait_until(lambda: redis.subscribers("either") == 2, 5, "SUBSCRIBE")
    wait_linked(a, b)
    kinds = []
    for number in range(8):
        own = [client for client in redis.clients() if client["id"] not in of_second]
        victim = sorted(own, key=lambda client: int(client["sub"]))[-1 if number % 2 else 0]
        kinds.append(victim["sub"])
        stream = Stream(a)
        time.sleep(0.05 * random.random())
        redis.call("CLIENT", "KILL", "ID", victim["id"])
        old = {client["id"] for client in own}

        def replaced():
            ids = {client["id"] for client in redis.clients()} - of_second
            return not ids & old and len(ids) == len(old)

        wait_until(replaced, 5, lambda: f"all of {old} are replaced after {victim['id']} (sub={victim['sub']}) was "
                                        f"killed; now {[c['id'] for c in redis.clients()]}, not of {of_second}")
        wait_linked(a, b)
        wait_linked(b, a)
        require_once(stream.stop(), a, b, f"connection with sub={victim['sub']} killed")
        redis.publish("either", "n5", "fence")
        require_last(a, b, ["n5"], f"connection with sub={victim['sub']} killed")
    run.note(f"killed connections with sub={kinds}")


@case
def a_publication_in_flight_when_redis_is_killed_is_never_delivered_twice(run):
    redis = run.redis()
    first, second = run.multicast(redis=redis.url, threads=2), run.multicast(redis=redis.url)
    a, b = run.client(first, "/flight"), run.client(second, "/flight")
    wait_until(lambda: redis.subscribers("flight") == 2, 5, "SUBSCRIBE")
    for number in range(8):
        stream = Stream(a, 0.0003)
        time.sleep(0.05 + 0.1 * random.random())
        redis.kill()
        redis.start()
        wait_linked(a, b, 6)
        wait_linked(b, a, 6)
        require_once(stream.stop(), a, b, f"round {number}")
        redis.publish("flight", "n5", "fence")
        require_last(a, b, ["n5"], f"round {number}")


@variants("a_publication_is_not_delivered_twice_if_{}",
          {"redis_delivers_it_and_dies_before_the_reply": True, "redis_replies_and_dies_before_the_delivery": False})
def dies_at_a_publication(run, delivers):
    fake = run.enter_context(FakeRedis())
    first, second = run.multicast(redis=fake.url), run.multicast(redis=fake.url, threads=2)
    a, b = run.client(first, "/dies"), run.client(second, "/dies")
    wait_until(lambda: len(fake.subscribed.get(b"dies", ())) == 2, 5, "SUBSCRIBE")
    for number in range(6):
        doomed = f"n{number}"

        def hook(peer, words):
            if words[0] != b"PUBLISH" or words[2] != doomed.encode():
                return False
            if delivers:
                fake.deliver(*words[1:3])
                wait_until(lambda: b.wait_message(doomed), 5, "the delivery")
            else:
                peer.write(b":2\r\n")
                time.sleep(0.05)
            fake.on_command = None
            fake.drop()
            return True

        fake.on_command, before = hook, len(fake.peers)
        a.send(doomed)
        wait_until(lambda: len(fake.peers) >= before + 2, 6, "the process connects again")
        wait_linked(a, b, 6)
        wait_linked(b, a, 6)
        require(b.messages.count(doomed) == delivers, f"the other process got {b.messages.count(doomed)} of {doomed}")
        require(a.messages.count(doomed) == 1, f"the sender's process delivered {a.messages.count(doomed)} of {doomed}")
        fake.deliver(b"dies", doomed.encode())
        fake.deliver(b"dies", b"fence")
        for client, expected in ((a, 2), (b, delivers + 1)):
            count = client.take("fence").count(doomed)
            require(count == expected, f"after an equal foreign payload: {count} instead of {expected}")


@variants("messages_sent_around_a_stop_of_redis_are_not_delivered_twice_after_it_goes_on_{}",
          {"unnoticed": (False, ""), "after_it_was_noticed": (True, ""),
           "with_megabytes_on_their_way": (True, " " + "p" * 20_000)}, limit=80)
def around_a_stop(run, how):
    noticed, padding = how
    redis = run.redis()
    first, second = run.multicast(redis=redis.url, threads=2), run.multicast(redis=redis.url)
    a, b = run.client(first, "/stop"), run.client(second, "/stop")
    wait_until(lambda: redis.subscribers("stop") == 2, 5, "SUBSCRIBE")
    old = {client["id"] for client in redis.clients()}
    stream = Stream(a, 0.01 if padding else 0.002, padding)
    time.sleep(0.3)
    stopped = time.monotonic()
    redis.stop()
    if noticed:
        for server in (first, second):
            when = server.wait_line(LOSS, 40, stopped)
            run.note(f"noticed after {when - stopped:.1f} s")
        time.sleep(random.random())
    else:
        time.sleep(1)
    back = redis.resume()
    wait_linked(a, b, 5)
    wait_linked(b, a, max(0.1, back + 5 - time.monotonic()))
    require_once(stream.stop(), a, b, "around the stop")
    got = len(numbered(b))
    run.note(f"the other process got {got} of {len(stream.sent)}")
    if not noticed:
        require(got == len(stream.sent), "messages were lost though the stop was not noticed")
    redis.publish("stop", "n5", "x", "fence")
    require_last(a, b, ["n5", "x"], "around the stop")
    ids = {client["id"] for client in redis.clients()}
    require(len(ids) <= 6 and (not noticed or not ids & old), f"connections {ids}; before the stop {old}")
    run.note(f"{kills(redis)} CLIENT KILL")


def kills(redis):
    """The number of CLIENT KILL commands that Redis was sent. MONITOR does not show them."""
    found = re.search(r"cmdstat_client\|kill:calls=(\d+)", redis.call("INFO", "commandstats").decode())
    return int(found[1]) if found else 0


@case
def publications_that_reach_redis_after_the_process_has_connected_again_are_not_delivered_twice(run):
    """A proxy holds back the old connections until the new ones work. CLIENT KILL ID can end the old ones before."""
    redis = run.redis()
    proxy = run.enter_context(Proxy(redis.port))
    first, second = run.multicast(redis=proxy.url, threads=2), run.multicast(redis=redis.url)
    a, b = run.client(first, "/held"), run.client(second, "/held")
    wait_until(lambda: redis.subscribers("held") == 2, 5, "SUBSCRIBE")
    wait_linked(a, b)
    old = {client["id"] for client in redis.clients()}
    frozen = time.monotonic()
    thaw = proxy.freeze()
    a.send(*[f"n{number}" for number in range(500)])
    when = first.wait_line(LOSS, 40, frozen)
    run.note(f"noticed after {when - frozen:.1f} s")
    wait_linked(a, b, 6)
    wait_linked(b, a, 6)
    thaw()
    killed = re.findall(rb"KILL\r\n\$2\r\nID\r\n\$\d+\r\n(\d+)", proxy.received, re.I)
    run.note(f"{kills(redis)} CLIENT KILL, of {killed}; the old connections are {old}")
    require(len(killed) == kills(redis), f"CLIENT KILL in another form: {killed}, {kills(redis)}")
    require({number.decode() for number in killed} <= old, f"CLIENT KILL of {killed}; the old ones are {old}")
    ids = {client["id"] for client in redis.clients()}
    wait_until(lambda: len(redis.clients()) <= 4, 5, lambda: f"the old connections end: {old}, {ids}")
    redis.publish("held", "fence")
    got, there = a.take("fence"), b.take("fence")
    for where, messages in (("the sender's process", got), ("the other process", there)):
        mine = [message for message in messages if message[:1] == "n"]
        twice = sorted({message for message in mine if mine.count(message) > 1})
        require(not twice, f"{where} got {len(mine)} messages, {len(twice)} of them more than once: {twice[:5]}")
    run.note(f"the other process got {sum(message[:1] == 'n' for message in there)} of 500")


@case
def a_process_that_stops_and_goes_on_is_not_confused(run):
    redis = run.redis()
    first, second = run.multicast(redis=redis.url), run.multicast(redis=redis.url)
    wait_joined(first, redis), wait_joined(second, redis)
    a, b = run.client(first, "/pause"), run.client(second, "/pause")
    wait_until(lambda: redis.subscribers("pause") == 2, 5, "SUBSCRIBE")
    a.send("before")
    a.wait_for(1), b.wait_for(1)
    first.stop()
    b.send("x"), redis.publish("pause", "x")
    b.wait_for(3)
    first.resume()
    a.send("x")
    for client in (a, b):
        client.wait_for(4)
    redis.publish("pause", "fence")
    for client in (a, b):
        same(sorted(client.take("fence")), ["before", "x", "x", "x"], "after a pause of the process")
