"""Own publications: delivered at once, recognized when they come back, and published after SUBSCRIBE."""

import random
import threading
import time
from collections import Counter

from fakes import Proxy, FakeRedis
from registry import case, require, variants, wait_until
from servers import wait_joined
from websocket import Client, same


def two_processes(run, url, threads=(1, 2)):
    return [run.multicast(redis=url, threads=count) for count in threads]


@case
def an_own_publication_is_delivered_to_local_clients_without_waiting_for_redis(run):
    redis = run.redis()
    server = run.multicast(redis=redis.url)
    a, b = run.client(server, "/here"), run.client(server, "/here")
    wait_joined(server, redis)
    redis.stop()
    began = time.monotonic()
    a.send("first", b"second")
    for client in (a, b):
        client.expect(["first", b"second"], 1)
    run.note(f"{(max(a.times + b.times) - began) * 1000:.1f} ms while Redis was stopped")
    redis.resume()
    with redis.subscriber("here") as observer:
        a.send("third")
        wait_until(lambda: b"third" in observer.payloads, 10, "the third message reaches Redis")
        redis.publish("here", "fence")
        for client in (a, b):
            same(client.take("fence"), ["first", b"second", "third"], "after Redis has gone on")


@case
def three_own_and_two_foreign_equal_payloads_give_five_to_every_client(run):
    redis = run.redis()
    first, second = two_processes(run, redis.url)
    clients = [run.client(server, "/equal") for server in (first, second) for _ in range(2)]
    wait_until(lambda: redis.subscribers("equal") == 2, 5, "SUBSCRIBE")
    observer = run.enter_context(redis.subscriber("equal"))
    for number in range(60):
        foreign = threading.Thread(target=redis.publish, args=["equal", "x", "x"])
        if number % 3:
            foreign.start()
        if number % 2:
            clients[0].send("x", "x", "x")
        else:
            [clients[0].send("x") for _ in range(3)]
        if not number % 3:
            foreign.start()
        foreign.join()
        observer.wait_for(5 * (number + 1) + number)
        redis.publish("equal", f"fence {number}")
        for client in clients:
            messages = client.take(f"fence {number}")
            require(messages == ["x"] * 5, f"round {number}: {messages}")


@case
def random_mixes_of_equal_payloads_from_two_processes_and_others_stay_exact(run):
    redis = run.redis()
    first, second = two_processes(run, redis.url, (4, 1))
    paths = ("/mix/a", "/mix/b")
    clients = {path: [run.client(server, path) for server in (first, first, second)] for path in paths}
    observers = {path: run.enter_context(redis.subscriber(path[1:])) for path in paths}
    for path in paths:
        wait_until(lambda: redis.subscribers(path[1:]) == 3, 5, "SUBSCRIBE")
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    overtaken = []
    for number in range(40):
        expected = {path: Counter() for path in paths}
        plans = []
        for path in paths:
            for source in (*clients[path], None):
                plan = [dice.choice(["x", b"x", "", b"", b"\xffx", "y" * 2000]) for _ in range(dice.randrange(8))]
                expected[path].update(plan)
                plans.append((path, source, plan))

        def play(path, source, plan):
            for message in plan:
                if source:
                    source.send(message)
                else:
                    redis.publish(path[1:], message if isinstance(message, str) else b"\xff" + message)

        players = [threading.Thread(target=play, args=plan) for plan in plans if plan[1]]
        [player.start() for player in players]
        [play(*plan) for plan in plans if not plan[1]]
        [player.join() for player in players]
        for path in paths:
            observers[path].wait_for(expected[path].total())
            redis.publish(path[1:], f"fence {number}")
            for index, client in enumerate(clients[path]):
                got = Counter(client.take(f"fence {number}"))
                where = f"seed {seed}, round {number}, client {index} of {path}"
                for message in (expected[path] - got).elements():
                    late = client.wait_message(message, 3)  # an own message may arrive after the fence
                    require(late, f"{where}: missing {expected[path] - got}")
                    client.messages.remove(message)
                    overtaken.append(where)
                    got[message] += 1
                require(got == expected[path], f"{where}: too many {got - expected[path]}")
            observers[path].wait_for(expected[path].total() + 1)
            observers[path].payloads.clear()
    if overtaken:
        run.note(f"{len(overtaken)} own messages reached a local client after a payload published later: {overtaken[0]}")


def late_subscribe(seconds):
    """A hook of `FakeRedis` that processes SUBSCRIBE late."""
    def hook(_, words):
        if words[0] == b"SUBSCRIBE":
            time.sleep(seconds)
        return False

    return hook


def late_replies(seconds):
    """A hook of `FakeRedis` that processes SUBSCRIBE at once, and sends the replies and deliveries late."""
    def hook(peer, words):
        if words[0] == b"SUBSCRIBE":
            peer.lag = seconds
        return False

    return hook


@variants("publish_waits_for_the_acknowledgement_of_subscribe_if_redis_is_late_to_{}",
          {"process_it": late_subscribe(0.4), "acknowledge_it": late_replies(0.4)})
def publish_waits(run, hook):
    fake = run.enter_context(FakeRedis())
    second = run.multicast(redis=fake.url)
    b = {path: run.client(second, path) for path in ("/one", "/two", "/three")}
    wait_until(lambda: len(fake.subscribed) == 3, 5, "the second process subscribes")
    others = set(fake.peers)
    fake.on_command = lambda peer, words: peer not in others and hook(peer, words)
    first = run.multicast(redis=fake.url, threads=2)
    wait_until(lambda: len(fake.peers) > len(others), 5, "the first process connects")
    for path, stays in (("/one", True), ("/two", False), ("/three", True)):
        a = run.client(first, path)
        a.send(*[f"{path} {number}" for number in range(5)], b"end")
        expected = [f"{path} {number}" for number in range(5)] + [b"end"]
        a.expect(expected)
        if not stays:
            a.cut()
        b[path].expect(expected)
        mine, channel = set(fake.peers) - others, path[1:].encode()
        wait_until(lambda: len(fake.commands(b"PUBLISH", channel, mine)) == len(expected), 5, "PUBLISH")
        published = fake.commands(b"PUBLISH", channel, mine)
        subscribed, peer, _ = fake.commands(b"SUBSCRIBE", channel, mine)[0]
        early = [when - subscribed for when, _, _ in published if when - subscribed < 0.4]
        require(not early, f"{path}: PUBLISH {min(early, default=0):.3f} s after SUBSCRIBE; acknowledged after 0.4 s")
        fake.deliver(channel, b"fence")
        same(b[path].take("fence"), expected, f"{path}, the second process")
        if stays:
            same(a.take("fence"), expected, f"{path}, the first process")
    first.alive()


@case
def nothing_is_lost_or_doubled_through_a_proxy_that_delays_what_redis_sends(run):
    redis = run.redis()
    proxy = run.enter_context(Proxy(redis.port, 0.15))
    first, second = run.multicast(redis=proxy.url, threads=2), run.multicast(redis=redis.url)
    wait_joined(first, redis)
    wait_joined(second, redis)
    for number in range(8):
        path = f"/late{number % 3}"
        b = run.client(second, path)
        wait_until(lambda: redis.subscribers(path[1:]) >= 1, 5, "SUBSCRIBE of the second process")
        a = run.client(first, path)
        a.send("x", b"x", "x")
        b.expect(["x", b"x", "x"])
        redis.publish(path[1:], "x", "fence")
        for client in (a, b):
            same(client.take("fence"), ["x", b"x", "x", "x"], f"round {number}, {path}")
        (a.close if number % 2 else a.cut)()
        b.close()


@case
def clients_that_send_at_once_and_leave_lose_nothing_at_another_process(run):
    redis = run.redis()
    proxy = run.enter_context(Proxy(redis.port, 0.02))
    first, second = run.multicast(redis=proxy.url, threads=4), run.multicast(redis=redis.url)
    wait_joined(first, redis), wait_joined(second, redis)
    stay = {path: run.client(second, path) for path in ("/brief0", "/brief1", "/brief2")}
    for path in stay:
        wait_until(lambda: redis.subscribers(path[1:]) == 1, 5, "SUBSCRIBE of the second process")
    sent = {path: [] for path in stay}
    failures = []

    def visit(worker):
        try:
            for number in range(40):
                path = f"/brief{(worker + number) % 3}"
                messages = [f"{worker} {number} {index}" for index in range(3)]
                with Client(first.address, path) as client:
                    client.send(*messages)
                    sent[path] += messages
                    if number % 3 == 0:
                        client.wait_message(messages[-1])
                        client.cut()
                    elif number % 3 == 1:
                        client.close()
                    else:
                        client.wait_message(messages[-1])
                        client.hang_up()
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=visit, args=[worker]) for worker in range(4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    require(not failures, f"{failures}")
    for path, client in stay.items():
        client.wait_for(len(sent[path]))
        redis.publish(path[1:], "fence")
        got, expected = Counter(client.take("fence")), Counter(sent[path])
        require(got == expected, f"{path}: missing {expected - got}, too many {got - expected}")
    wait_until(lambda: all(redis.subscribers(path[1:]) == 1 for path in stay), 5, "UNSUBSCRIBE of the first process")


@case
def unsubscribe_waits_until_own_publications_have_come_back(run):
    fake = run.enter_context(FakeRedis(on_command=late_replies(0.5)))
    server = run.multicast(redis=fake.url)
    run.client(server, "/stays")
    wait_until(lambda: fake.commands(b"SUBSCRIBE", b"stays"), 5, "SUBSCRIBE")
    for number in range(4):
        path, channel = f"/back{number % 2}", f"back{number % 2}".encode()
        known = len(fake.pushed), len(fake.commands(b"UNSUBSCRIBE", channel))
        a = run.client(server, path)
        a.send("x", "x", b"x")
        a.expect(["x", "x", b"x"])
        (a.cut if number % 2 else a.close)()
        wait_until(lambda: len(fake.commands(b"UNSUBSCRIBE", channel)) > known[1], 5, f"{path}: UNSUBSCRIBE")
        left = fake.commands(b"UNSUBSCRIBE", channel)[-1][0]
        back = [when for when, _ in fake.pushed[known[0] :] if when <= left]
        require(len(back) == 3, f"{path}: UNSUBSCRIBE when {len(back)} of 3 own publications had come back")


@case
def a_client_that_comes_after_the_last_one_left_gets_no_message_of_before(run):
    redis = run.redis()
    proxy = run.enter_context(Proxy(redis.port, 0.1))
    server = run.multicast(redis=proxy.url)
    wait_joined(server, redis)
    observer = run.enter_context(redis.subscriber("again"))
    for number in range(20):
        a = run.client(server, "/again")
        a.send("x", b"x")
        a.expect(["x", b"x"])
        (a.close if number % 2 else a.cut)()
        next_one = run.client(server, "/again")
        observer.wait_for(2)
        wait_until(lambda: redis.subscribers("again") == 2, 5, "the channel is subscribed for the next client")

        def arrives():
            redis.publish("again", "fence")
            return next_one.wait_message("fence", 0.3)

        wait_until(arrives, 5, "a foreign payload reaches the next client")
        got = [message for message in next_one.take() if message != "fence"]
        require(not got, f"round {number}: {got} arrived again, at a client that came later")
        next_one.close()
        observer.payloads.clear()
        wait_until(lambda: redis.subscribers("again") == 1, 5, "UNSUBSCRIBE")
        observer.payloads.clear()


ERRORS = [b"-ERR no\r\n", b"-OOM command not allowed\r\n", b"-NOPERM no access\r\n", b"-LOADING\r\n", b"-\r\n",
          b"-READONLY You can't write against a read only replica.\r\n", b"-BUSY script\r\n", b"-MISCONF x\r\n"]


@variants("after_an_error_reply_to_publish_own_publications_are_recognized_if_{}", {
    "replies_arrive_before_deliveries": (0, 0.1, 0.3), "deliveries_arrive_before_replies": (0.1, 0, 0.3),
    "a_foreign_payload_follows_at_once": (0, 0, 0)})
def error_reply(run, seconds):
    """A foreign payload that equals the own ones follows after `pause`, and must not be taken for one of them."""
    reply_lag, delivery_lag, pause = seconds
    errors = ERRORS[:3] if pause else ERRORS
    fake = run.enter_context(FakeRedis(on_command=lambda peer, _: setattr(peer, "lag", delivery_lag)))
    first, second = two_processes(run, fake.url)
    a, b = run.client(first, "/error"), run.client(second, "/error")
    wait_until(lambda: len(fake.subscribed.get(b"error", ())) == 2, 5, "SUBSCRIBE")
    for error in errors:
        for pattern in ("R", "RP", "PRP", "RRPP", "PPRPR"):  # R: refused, P: published
            def hook(peer, words, left=list(pattern)):
                peer.lag = reply_lag if words[0] == b"PUBLISH" else delivery_lag
                if words[0] == b"PUBLISH" and left and left.pop(0) == "R":
                    peer.write(error)
                    return True
                return False

            fake.on_command, count = hook, len(fake.commands(b"PUBLISH"))
            a.send(*["x"] * len(pattern))
            wait_until(lambda: len(fake.commands(b"PUBLISH")) == count + len(pattern), 5,
                       lambda: f"{pattern} after {error}: PUBLISH; stderr: {first.text()[-400:]!r}")
            wait_until(lambda: len(fake.subscribed[b"error"]) == 2, 5, "both are still subscribed")
            time.sleep(pause)
            fake.deliver(b"error", b"x")  # foreign
            fake.deliver(b"error", b"fence")
            got, there = a.take("fence"), b.take("fence")
            if not pause and len(got) <= len(pattern):
                # It was taken for an own one, until the error reply has arrived by the other connection.
                a.wait_for(len(pattern) + 1 - len(got))
                got += a.take()
            what = f"own x {pattern} (R refused with {error}, P published) and then one foreign x"
            require(got == ["x"] * (len(pattern) + 1), f"{what}: {len(got)} at the sender's process")
            require(there == ["x"] * (pattern.count("P") + 1), f"{what}: {len(there)} at the other process")
    fake.on_command = lambda peer, words: words[0] == b"PUBLISH" and not peer.write(errors[0])
    c = run.client(first, "/left")
    c.send("x", "y")
    c.expect(["x", "y"])
    c.close()
    wait_until(lambda: fake.commands(b"UNSUBSCRIBE", b"left"), 8, "UNSUBSCRIBE after refused publications")
    logged = [line for _, line in first.lines if "redis" in line.lower()]
    run.note(f"{len(logged)} log lines for {3 * len(errors) * 2 + len(errors)} refusals")
