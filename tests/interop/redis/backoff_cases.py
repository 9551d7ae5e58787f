"""The pauses between attempts to connect, and attempts that get no answer."""

import time

from fakes import Fake, FakeRedis, FullBacklog, silent, slam
from registry import case, require, variants, wait_until


def attempts(times):
    """The times of the attempts: connections less than 30 ms apart belong to one."""
    return [when for before, when in zip([0, *times], times) if when - before > 0.03]


def counted(run, fake, seconds):
    """Checks the connections that a fake counts in `seconds`."""
    server = run.multicast(redis=fake.url)
    client = run.client(server, "/counted")
    wait_until(lambda: fake.peers, 5, "the first connection")
    first = fake.peers[0].accepted
    while time.monotonic() < first + seconds:
        client.send("tick")
        time.sleep(0.1)
    times = [peer.accepted - first for peer in fake.peers if peer.accepted < first + seconds]
    tries = attempts([when + 1 for when in times])
    gaps = [after - before for before, after in zip(tries, tries[1:])]
    run.note(f"{sum(when < 1 for when in times)} connections in the first second, {len(times)} in {seconds} s; "
             f"pauses {', '.join(f'{gap:.2f}' for gap in gaps)}")
    client.wait_for(seconds)
    return server, times, gaps


@case(limit=100)
def a_server_that_closes_at_once_sees_few_connections_with_growing_pauses(run):
    fake = run.enter_context(Fake(serve=slam))
    server, times, gaps = counted(run, fake, 30)
    early = sum(when < 1 for when in times)
    require(early <= 8, f"{early} connections in the first second")
    require(len(times) <= 40, f"{len(times)} connections in 30 s")
    require(0.03 <= gaps[0] <= 0.3, f"the first pause is {gaps[0]:.2f} s, not 0.1 s")
    require(max(gaps) <= 4.3, f"the longest pause is {max(gaps):.2f} s")
    low, high = min(gaps[7:]), max(gaps[7:])
    require(low >= 1.95 and high <= 4.1, f"the pauses from the eighth on are {low:.2f} to {high:.2f} s, not 2 to 4 s")
    lines = [line for _, line in server.lines if "redis" in line.lower()]
    require(len(lines) <= 30, f"{len(lines)} log lines in 30 s")


@variants("a_server_that_{}_and_closes_then_sees_at_most_40_connections_in_30_s",
          {"answers_the_first_commands": 1.0, "acknowledges_subscribe": 0}, limit=100)
def flapping(run, grace):
    """Beyond the letter of the contract: the attempts succeed, and each connection fails soon afterwards."""
    def hook(peer, words):
        if words[0] == b"SUBSCRIBE":
            if not grace:
                fake.answer(peer, words)
            time.sleep(0.02)
            fake.drop()
            return True
        return False

    fake = run.enter_context(FakeRedis(on_command=hook))
    server, times, _ = counted(run, fake, 30)
    require(len(times) <= 40, f"{len(times)} connections in 30 s")
    lines = [line for _, line in server.lines if "redis" in line.lower()]
    run.note(f"{len(lines)} log lines")
    require(len(lines) <= 40, f"{len(lines)} log lines in 30 s")


def silent_tls(_):
    fake = Fake(serve=silent)
    fake.url = fake.url.replace("redis:", "rediss:")
    return fake


@variants("connecting_times_out_with_a_log_line_within_15_s_if_{}",
          {"the_server_never_answers": lambda run: Fake(serve=silent), "packets_are_dropped": lambda run: FullBacklog(),
           "a_tls_server_never_answers": silent_tls,
           "a_unix_socket_is_full": lambda run: FullBacklog(run.folder / "full")})
def times_out(run, make):
    fake = run.enter_context(make(run))
    began = time.monotonic()
    server = run.multicast(redis=fake.url, threads=2)
    a, b = run.client(server, "/served"), run.client(server, "/served")
    a.send(*[f"m{number}" for number in range(100)])
    for client in (a, b):
        client.expect([f"m{number}" for number in range(100)], 2)
    when = server.wait_line(f"redis.*{fake.address}|{fake.address}.*redis", 15, began)
    line = next(line for _, line in server.lines if fake.address in line)
    run.note(f"after {when - began:.1f} s: {line}")
    require(server.cpu_share(3) < 0.05, "more than 5 % CPU")
    status, seconds = server.terminate()
    require(status == 0 and seconds < 5, f"SIGTERM: status {status} after {seconds:.1f} s")


@case
def a_server_that_stops_answering_within_the_handshake_is_left_within_15_s(run):
    fake = run.enter_context(FakeRedis(on_command=lambda peer, words: peer.number < 2))
    server = run.multicast(redis=fake.url)
    a = run.client(server, "/later")
    when = server.wait_line("redis", 15)
    wait_until(lambda: fake.commands(b"SUBSCRIBE", b"later"), 10, "the next attempt succeeds")
    fake.deliver(b"later", b"foreign")
    require(a.wait_message("foreign", 5), "a foreign payload arrives")
    run.note(f"a log line after {when - fake.peers[0].accepted:.1f} s")
