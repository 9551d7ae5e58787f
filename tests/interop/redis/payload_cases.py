"""What a message looks like in Redis, in both directions."""

import os
import statistics
import time

from registry import case, require, shown, variants, wait_until

MAX = 2 << 20
SIZES = [0, 1, 2, 125, 126, 127, 4095, 65535, 65536, 1 << 20, MAX - 1, MAX]
TEXTS = ["", "a", "\0", "é🦀\U0010ffff", "*3\r\n$7\r\nmessage\r\n", "$-1\r\n", "\r\n", "-ERR no\r\n", "ÿ", "\ufeff",
         "\u00ff\u0000"]
NEITHER = [b"\x80", b"\xc3", b"a\xff", b"\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"text \xe2\x82",
           b"\x00\xff", b"ok" * 50_000 + b"\xc3", b"\xc3" + b"a" * 200_000]


def room(run, **options):
    """Redis, a process with two clients, and a subscriber of their channel."""
    redis = run.redis()
    server = run.multicast(redis=redis.url, **options)
    clients = [run.client(server, "/room") for _ in range(2)]
    wait_until(lambda: redis.subscribers("room") == 1, 5, "SUBSCRIBE")
    return redis, server, clients, run.enter_context(redis.subscriber("room"))


def text_of(size):
    return "a" * (size % 2) + "é" * (size // 2)


@case
def text_is_published_as_it_is_and_arrives_as_text(run):
    redis, _, (a, b), observer = room(run, threads=2)
    texts = TEXTS + [text_of(size) for size in SIZES]
    for text in texts:
        observer.payloads.clear(), a.take(), b.take()
        a.send(text)
        observer.wait_for(1)
        require(observer.payloads == [text.encode()], f"{shown(text)} was published as {shown(observer.payloads[0])}")
        for client in (a, b):
            client.expect([text])
        a.take(), b.take()
        redis.publish("room", text)
        for client in (a, b):
            client.expect([text])
        observer.wait_for(2)
    run.note(f"{len(texts)} texts, up to {max(len(text.encode()) for text in texts)} octets")


@case
def a_binary_message_is_published_after_the_octet_255_and_arrives_as_binary(run):
    redis, _, (a, b), observer = room(run, threads=2)
    binaries = [b"", b"\xff", b"\xff\xff", b"text", b"\x00", b"\r\n", bytes(range(256)), *NEITHER]
    binaries += [os.urandom(size) for size in SIZES]
    for data in binaries:
        observer.payloads.clear(), a.take(), b.take()
        a.send(data)
        observer.wait_for(1)
        require(observer.payloads == [b"\xff" + data], f"{shown(data)} was published as {shown(observer.payloads[0])}")
        for client in (a, b):
            client.expect([data])
        a.take(), b.take()
        redis.publish("room", b"\xff" + data)
        for client in (a, b):
            client.expect([data])
        observer.wait_for(2)


@case
def messages_of_2_mib_cross_two_processes_unchanged_and_in_order(run):
    redis = run.redis()
    first, second = run.multicast(redis=redis.url), run.multicast(redis=redis.url, threads=2)
    a, b = run.client(first, "/big"), run.client(second, "/big")
    wait_until(lambda: redis.subscribers("big") == 2, 5, "SUBSCRIBE")
    messages = [os.urandom(MAX), text_of(MAX), "small", b"small", os.urandom(MAX), text_of(MAX)]
    for number, message in enumerate(messages):
        a.send(message)
        b.wait_for(number + 1)  # the contract does not tell how many octets may wait for Redis
    b.expect(messages)
    a.expect(messages, 20)
    redis.publish("big", "fence")
    require(a.take("fence") == messages and b.take("fence") == messages, "a message arrived twice")


@case
def a_foreign_payload_that_is_neither_text_nor_binary_harms_nothing_and_never_arrives_as_text(run):
    redis, server, (a, b), _ = room(run)
    before = {client["id"] for client in redis.clients()}
    for number, payload in enumerate(NEITHER * 3):
        redis.publish("room", payload, f"after {number}")
        for client in (a, b):
            messages = client.take(f"after {number}")
            texts = [message for message in messages if isinstance(message, str)]
            require(not texts, f"{shown(payload)} arrived as text: {shown(texts)}")
            require(not client.ended, f"{shown(payload)} ended the client's connection")
    a.send("and back")
    for client in (a, b):
        client.expect(["and back"])
    require({client["id"] for client in redis.clients()} == before, "a connection to Redis was replaced")
    logged = [line for _, line in server.lines if "redis" in line.lower()]
    require(len(logged) <= 30, f"{len(logged)} log lines for {len(NEITHER) * 3} payloads: {shown(logged[-1])}")
    run.note(f"{len(logged)} log lines")


@case
def after_a_foreign_payload_of_64_mib_the_other_paths_are_served(run):
    """Beyond the letter of the contract, which ends at 2 MiB."""
    redis, server, (a, b), _ = room(run)
    c = run.client(server, "/other")
    redis.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
    redis.publish("room", b"a" * (64 << 20))

    def arrives():
        server.alive()
        redis.publish("other", "later")
        return c.wait_message("later", 0.2)

    wait_until(arrives, 10, lambda: f"a later payload arrives; stderr: {server.text()[-500:]!r}")
    c.send("local")
    require(c.wait_message("local", 5), "a local message")
    big = sum(len(message) > 1 << 20 for message in a.messages)
    run.note(f"it arrived {big} times; its client {'was cut' if a.ended else 'stayed'}")


@variants("a_lone_message_crosses_two_processes_within_10_ms_in_the_median_with_{}",
          {"one_thread": 1, "four_threads": 4}, alone=True)
def latency(run, threads):
    redis = run.redis()
    first, second = (run.multicast(redis=redis.url, threads=threads) for _ in range(2))
    a, b = run.client(first, "/lone"), run.client(second, "/lone")
    wait_until(lambda: redis.subscribers("lone") == 2, 5, "SUBSCRIBE")
    delays = []
    for number in range(100):
        sent = time.monotonic()
        a.send(f"lone {number}")
        b.wait_for(number + 1)
        delays.append((b.times[-1] - sent) * 1000)
        time.sleep(0.015)
    median, worst = statistics.median(delays), max(delays)
    run.note(f"median {median:.2f} ms, worst {worst:.1f} ms")
    require(median < 10, f"median {median:.2f} ms")
