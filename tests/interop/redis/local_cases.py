"""Rooms of one process, and its end."""

import threading

from fakes import Fake, silent
from registry import case, require, variants, wait_until
from servers import free_port, wait_joined
from websocket import same


def senders_in_order(client, senders, count, offset=0):
    """Every message once, and those of each sender in order."""
    for sender in range(senders):
        expected = [message(sender, number) for number in range(offset, offset + count)]
        mine = [m for m in client.messages if sender_of(m) == sender]
        same(mine, expected, f"from sender {sender} to a client of {client.path}")
    require(len(client.messages) == senders * count, lambda: f"{len(client.messages)} instead of {senders * count}")


def message(sender, number):
    text = f"{sender}:{number}"
    return text if number % 2 else text.encode() + b"\xff\x00"


def sender_of(message):
    return int(message.split(":" if isinstance(message, str) else b":")[0])


@variants("each_message_reaches_every_connection_on_the_path_once_and_in_order_with_{}",
          {"one_thread": (1, False), "four_threads": (4, False), "four_threads_and_redis": (4, True)})
def each_message(run, how):
    threads, joined = how
    redis = run.redis() if joined else None
    server = run.multicast(threads=threads, redis=redis and redis.url)
    clients = [run.client(server, "/room?n=%d" % number) for number in range(8)]
    others = [run.client(server, path) for path in ("/room/", "/roo", "/Room", "//room", "/%72oom")]
    if redis:
        wait_joined(server, redis)
    workers = [threading.Thread(target=lambda i=i, c=c: [c.send(message(i, n)) for n in range(50)])
               for i, c in enumerate(clients)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    for client in clients:
        client.wait_for(400)
    for other in others:
        other.send("marker")
        other.expect(["marker"])
    for client in clients:
        senders_in_order(client, 8, 50)


@variants("bursts_of_500_messages_into_one_path_arrive_whole_with_{}",
          {"one_thread": (1, False), "four_threads": (4, False), "two_processes": (2, True)})
def bursts(run, how):
    threads, joined = how
    redis = run.redis() if joined else None
    first = run.multicast(threads=threads, redis=redis and redis.url)
    second = run.multicast(threads=threads, redis=redis.url) if redis else first
    clients = [run.client(server, "/burst") for server in (first, second) for _ in range(2)]
    if redis:
        wait_until(lambda: redis.subscribers("burst") == 2, what="both processes are subscribed")
    for burst in range(20):
        sender = burst % len(clients)
        clients[sender].send(*[message(sender, burst * 500 + n) for n in range(500)])
        for client in clients:
            client.wait_for(500)
            same(client.take(), [message(sender, burst * 500 + n) for n in range(500)], f"burst {burst}")
    for burst in range(20):  # and without waiting for the one before
        clients[burst % len(clients)].send(*[message(burst, n) for n in range(500)])
    for client in clients:
        client.wait_for(10_000, 30)
        senders_in_order(client, 20, 500)


def nothing(run):
    return {}


def redis_up(run):
    return {"redis": run.redis()}


def redis_stopped(run):
    return {"redis": run.redis(), "then": lambda redis: redis.stop()}


def redis_killed(run):
    return {"redis": run.redis(), "then": lambda redis: redis.kill()}


def redis_never_there(run):
    return {"url": f"redis://127.0.0.1:{free_port()}"}


def redis_silent(run):
    return {"url": run.enter_context(Fake(serve=silent)).url}


@variants("sigterm_closes_every_client_with_1001_and_exits_0_with_{}", {
    "no_redis": nothing, "redis": redis_up, "redis_stopped": redis_stopped, "redis_killed": redis_killed,
    "redis_never_there": redis_never_there, "redis_silent": redis_silent})
def sigterm(run, situation):
    made = situation(run)
    redis = made.get("redis")
    for threads in (1, 4):
        if redis and "then" in made and threads == 4:
            redis.resume() if situation is redis_stopped else redis.start()
        server = run.multicast(threads=threads, redis=redis.url if redis else made.get("url"))
        clients = [run.client(server, f"/{number % 3}") for number in range(12)]
        if redis:
            wait_until(lambda: redis.channels() == {b"0", b"1", b"2"}, what="the channels are subscribed")
        if "then" in made:
            made["then"](redis)
        for number, client in enumerate(clients):
            client.send(f"m{number}")
        clients[0].wait_for(4)
        status, seconds = server.terminate()
        codes = [client.wait_closed(1) for client in clients]
        require(set(codes) == {1001}, f"{threads} threads: close codes {codes}; status {status} after {seconds:.1f} s")
        require(status == 0, f"{threads} threads: exit status {status} after {seconds:.1f} s: {server.text()[-400:]!r}")
        require(seconds < 5, f"{threads} threads: the exit took {seconds:.1f} s")
        run.note(f"{threads} threads: {seconds:.2f} s")


@variants("sigterm_ends_the_process_within_8_s_if_{}",
          {"a_client_never_answers": {"answers_close": False}, "a_client_never_reads": {"reads": False}})
def sigterm_without_an_answer(run, client_options):
    redis = run.redis()
    for threads, stopped in ((1, False), (4, True)):
        server = run.multicast(threads=threads, redis=redis.url)
        clients = [run.client(server, "/room") for _ in range(3)]
        run.client(server, "/room", **client_options)
        for _ in range(20):
            clients[0].send("x" * 100_000)
        for client in clients:
            client.wait_for(20)
        if stopped:
            redis.stop()
        status, seconds = server.terminate()
        codes = [client.wait_closed(1) for client in clients]
        require(set(codes) == {1001} and status == 0 and seconds < 8,
                f"{threads} threads: close codes {codes}, status {status}, {seconds:.1f} s")
        run.note(f"{threads} threads: {seconds:.2f} s")


@case
def sigterm_during_a_burst_of_messages_closes_with_1001_and_exits_0(run):
    redis = run.redis()
    server = run.multicast(threads=2, redis=redis.url)
    clients = [run.client(server, "/busy") for _ in range(6)]
    clients[0].send(*["y" * 1000 for _ in range(3000)])
    clients[1].wait_for(100)
    status, seconds = server.terminate()
    codes = [client.wait_closed(1) for client in clients[1:]]
    require(set(codes) == {1001} and status == 0 and seconds < 5, f"codes {codes}, status {status}, {seconds:.1f} s")
