"""A server in the place of Redis that sends what Redis never sends, and valid replies in any pieces."""

import contextlib
import time

from fakes import FakeRedis
from registry import case, require, shown, variants, wait_until

MIB = 1 << 20


def endless(head, block):
    """Sends `head`, then `block` until the connection ends, at most 200 MiB."""
    def send(peer):
        peer.socket.sendall(head)
        for _ in range(200 * MIB // len(block)):
            peer.socket.sendall(block)

    return send


def bytes_of(data):
    return lambda peer: peer.socket.sendall(data)


ABUSES = {
    "200000_nested_arrays": bytes_of(b"*1\r\n" * 200_000 + b":1\r\n"),
    "200000_nested_arrays_of_two": bytes_of(b"*2\r\n" * 200_000 + b":1\r\n" * 200_001),
    "endlessly_nested_arrays": endless(b"", b"*1\r\n" * 16_000),
    "a_bulk_length_of_100_gb": endless(b"$100000000000\r\n", b"x" * 65536),
    "a_bulk_length_of_100_gb_and_silence": bytes_of(b"$100000000000\r\n"),
    "a_bulk_length_of_100_gb_in_a_message":
        endless(b"*3\r\n$7\r\nmessage\r\n$5\r\nabuse\r\n$100000000000\r\n", b"x" * 65536),
    "an_array_of_10_to_the_18": endless(b"*1000000000000000000\r\n", b":1\r\n" * 16_000),
    "an_array_of_10_to_the_18_and_silence": bytes_of(b"*1000000000000000000\r\n"),
    "arrays_of_a_million_in_each_other": bytes_of(b"*1000000\r\n" * 7),
    "endless_arrays_of_a_million_numbers": endless(b"", b"*1000000\r\n" + b":1\r\n" * 1_000_000),
    "a_line_of_40_mib": bytes_of(b"+" + b"a" * (40 * MIB) + b"\r\n"),
    "an_error_of_40_mib": bytes_of(b"-ERR " + b"a" * (40 * MIB) + b"\r\n"),
    "endless_digits": endless(b":1", b"1" * 65536),
    "endless_digits_of_a_length": endless(b"$1", b"1" * 65536),
    "endless_digits_of_a_count": endless(b"*1", b"0" * 65536),
    "negative_lengths": bytes_of(b"$-2\r\n*-2\r\n$-9223372036854775809\r\n*-9223372036854775808\r\n"),
    "nulls": bytes_of(b"$-1\r\n*-1\r\n*0\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n*3\r\n$7\r\nmessage\r\n*-1\r\n*0\r\n"),
    "bad_numbers": bytes_of(b":abc\r\n$1x\r\n*+\r\n:\r\n$\r\n*\r\n:99999999999999999999999\r\n"),
    "unknown_types": bytes_of(b"!3\r\nabc\r\n,1.5\r\n%1\r\n+a\r\n:1\r\n~0\r\n_\r\n\xff\xfe\r\n"),
    "unasked_replies": bytes_of(b"+OK\r\n" * 1000 + b":1\r\n" * 1000),
    "messages_of_unknown_channels": bytes_of(b"*3\r\n$7\r\nmessage\r\n$7\r\nunknown\r\n$1\r\nx\r\n" * 1000
                                             + b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$5\r\nabuse\r\n$1\r\nx\r\n"
                                             + b"*3\r\n$11\r\nunsubscribe\r\n$5\r\nabuse\r\n:0\r\n" * 10),
}


@variants("the_process_survives_{}", ABUSES, limit=80)
def survives(run, abuse):
    """One process is abused as soon as it connects, one by a reply to PUBLISH, one after SUBSCRIBE."""
    def attack(peer):
        with contextlib.suppress(OSError):
            abuse(peer)
        return True

    def abuse_after_reply(peer, words):
        pushed.answer(peer, words)
        time.sleep(0.05)  # the writing thread of the fake sends the reply
        return attack(peer)

    greeting = FakeRedis(on_accept=attack)
    reply = FakeRedis(on_command=lambda peer, words: words[0] == b"PUBLISH" and attack(peer))
    pushed = FakeRedis(on_command=lambda peer, words: words[0] == b"SUBSCRIBE" and abuse_after_reply(peer, words))
    places = {"as a greeting": greeting, "as a reply to PUBLISH": reply, "after SUBSCRIBE": pushed}
    servers = {}
    for place, fake in places.items():
        run.enter_context(fake)
        server = run.multicast(redis=fake.url)
        server.resident = server.memory()
        server.reset_peak()
        server.pair = [run.client(server, "/abuse") for _ in range(2)]
        servers[place] = server
    until, used, sent = time.monotonic() + 14, {}, 0
    while time.monotonic() < until:
        for place, server in servers.items():
            began = time.monotonic()
            server.pair[0].send(f"m{sent}")
            for client in server.pair:
                require(client.wait_message(f"m{sent}", 5), lambda: f"{place}: a local message did not arrive")
            require(time.monotonic() - began < 2, f"{place}: a local message took {time.monotonic() - began:.1f} s")
            server.alive()
            if place not in used and time.monotonic() > until - 10:
                used[place] = server.cpu(), time.monotonic()
        sent += 1
        time.sleep(0.1)
    failures = []
    for place, server in servers.items():
        before, since = used[place]
        share = (server.cpu() - before) / (time.monotonic() - since)
        grown = (server.peak() - server.resident) / MIB
        run.note(f"{place}: {grown:.1f} MiB, {share:.1%} CPU, {len(places[place].peers)} connections")
        if grown >= 60 or share >= 0.05:
            failures.append(place)
        for client in server.pair:
            mine = [message for message in client.messages if message[:1] == "m"]
            require(mine == [f"m{number}" for number in range(sent)], f"{place}: local messages {shown(mine[-5:])}")
    require(not failures, f"60 MiB or 5 % CPU exceeded {' and '.join(failures)}")


@case
def valid_replies_one_byte_at_a_time_work(run):
    fake = run.enter_context(FakeRedis(on_accept=lambda peer: setattr(peer, "piece", 1)))
    first, second = run.multicast(redis=fake.url), run.multicast(redis=fake.url, threads=2)
    a, b = run.client(first, "/bytes"), run.client(second, "/bytes")
    wait_until(lambda: len(fake.subscribed.get(b"bytes", ())) == 2, 5, "SUBSCRIBE")
    expected = []
    for number in range(30):
        a.send("é🦀" * number, b"\xff\x00\r\n" * number)
        b.send("x")
        a.wait_for(3 * number + 3)
        b.wait_for(3 * number + 3)
        expected += ["é🦀" * number, b"\xff\x00\r\n" * number, "x"]
    fake.deliver(b"bytes", b"foreign")
    fake.deliver(b"bytes", b"fence")
    for client in (a, b):
        got = client.take("fence")
        exact = sorted(map(repr, got)) == sorted(map(repr, [*expected, "foreign"]))
        require(exact, f"{len(got)} messages: {shown(got)}")


@case
def a_delivery_cut_into_two_pieces_anywhere_arrives(run):
    fake = run.enter_context(FakeRedis())
    server = run.multicast(redis=fake.url)
    a = run.client(server, "/pieces")
    wait_until(lambda: fake.subscribed.get(b"pieces"), 5, "SUBSCRIBE")
    peer = next(iter(fake.subscribed[b"pieces"]))
    payload = "é\r\n🦀".encode()
    whole = b"*3\r\n$7\r\nmessage\r\n$6\r\npieces\r\n$%d\r\n%s\r\n" % (len(payload), payload)
    for cut in range(1, len(whole)):
        peer.write(whole[:cut])
        time.sleep(0.02)  # so that the pieces are read one by one
        peer.write(whole[cut:])
        a.wait_for(cut)
    require(set(a.messages) == {payload.decode()} and len(fake.peers) <= 3, f"{set(a.messages)}, {len(fake.peers)}")


@case(limit=100)
def a_connection_that_ends_at_any_byte_of_the_replies_is_replaced(run):
    whole = FakeRedis()
    with whole, run.multicast(redis=whole.url) as server, run.client(server, "/cut"):
        wait_until(lambda: whole.subscribed.get(b"cut"), 5, "SUBSCRIBE")
        peer = next(iter(whole.subscribed[b"cut"]))
        whole.deliver(b"cut", b"hello")
        wait_until(lambda: whole.pushed, 5, "the delivery")
        length = peer.sent
    cuts = list(range(1, length))
    while cuts:
        tried = [Cut(run, cut) for cut in cuts[:12]]
        del cuts[:12]
        for one in tried:
            one.check()
    run.note(f"{length - 1} places")


class Cut:
    """A process whose first two connections end after `cut` bytes. The next ones work."""

    def __init__(self, run, cut):
        self.cut = cut
        self.fake = run.enter_context(FakeRedis(on_accept=self.limit, on_command=self.deliver_after_subscribe))
        self.server = run.multicast(redis=self.fake.url)
        self.client = run.client(self.server, "/cut")

    def limit(self, peer):
        if peer.number < 2:
            peer.cut_after = self.cut

    def deliver_after_subscribe(self, peer, words):
        if words[0] != b"SUBSCRIBE":
            return False
        self.fake.answer(peer, words)
        self.fake.deliver(b"cut", b"hello")
        return True

    def check(self):
        if not self.client.wait_message("hello", 8):
            raise AssertionError(f"cut after {self.cut} bytes: not joined again; {self.server.text()[-600:]!r}")
        require(self.client.messages == ["hello"], f"cut after {self.cut} bytes: {self.client.messages}")
        self.client.send("local")
        require(self.client.wait_message("local", 5), f"cut after {self.cut} bytes: a local message did not arrive")
        self.server.alive()
        self.server.kill()
