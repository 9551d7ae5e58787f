"""Forms of the URL of Redis, with TCP and Unix sockets."""

import socket
import subprocess
import time
import urllib.parse

import resp
from registry import Skipped, Violated, case, require, variants, wait_until
from servers import SECRET, Multicast, Redis, free_port, wait_joined, wait_linked

QUOTED = urllib.parse.quote(SECRET, safe="")
FORMS = {
    "host_and_port": ("redis://{}", "default", 0),
    "host_and_a_slash": ("redis://{}/", "default", 0),
    "a_database": ("redis://{}/7", "default", 7),
    "a_user_and_a_password": ("redis://app:plain@{}", "app", 0),
    "an_encoded_user_password_and_database": (f"redis://us%40er%2F%3A:{QUOTED}@{{}}/15", "us@er/:", 15),
    "an_encoded_plus": ("redis://plus:a+b%2B%20@{}", "plus", 0),
    "a_user_alone": ("redis://guest@{}/2", "guest", 2),
}


@variants("a_url_with_{}_is_understood", FORMS)
def form(run, how):
    template, user, database = how
    redis = run.redis()
    for name, rule in (("app", ">plain"), ("us@er/:", f">{SECRET}"), ("plus", ">a+b+ "), ("guest", "nopass")):
        redis.call("ACL", "SETUSER", name, "on", rule, "~*", "&*", "+@all")
    server = run.multicast(redis=template.format(redis.address))
    wait_joined(server, redis)
    clients = redis.clients()
    got = {(client["user"], client["db"]) for client in clients}
    require(got == {(user, str(database))}, f"user and db: {got}, not {user}, {database}")
    run.note(f"{len(clients)} connections")


@case
def a_password_alone_is_understood(run):
    redis = run.redis("--requirepass", SECRET)
    server = run.multicast(redis=f"redis://:{QUOTED}@{redis.address}/3")
    wait_joined(server, redis)
    got = {(client["user"], client["db"]) for client in redis.clients()}
    require(got == {("default", "3")}, f"user and db: {got}")


@case
def a_url_without_a_port_means_6379(run):
    if not port_is_free(6379):
        raise Skipped("port 6379 is taken")
    redis = run.redis(port=6379)
    server = run.multicast(redis="redis://127.0.0.1/4")
    wait_joined(server, redis)


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@case
def an_address_of_ipv6_is_understood(run):
    redis = run.redis(host="::1")
    server = run.multicast(redis=f"redis://[::1]:{redis.port}/1")
    wait_joined(server, redis)
    require({client["db"] for client in redis.clients()} == {"1"}, f"{redis.clients()}")


@variants("localhost_works_with_redis_only_on_{}", {"127.0.0.1": "127.0.0.1", "::1": "::1"})
def localhost(run, host):
    hosts = run.folder / "hosts"
    joined = 0
    for order in (("127.0.0.1", "::1"), ("::1", "127.0.0.1")):
        hosts.write_text("".join(f"{address} localhost\n" for address in order))
        wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                   f"mount --bind {hosts} /etc/hosts && exec \"$@\"", "sh"]
        seen = subprocess.run([*wrapper, "getent", "ahosts", "localhost"], capture_output=True, text=True)
        if "::1" not in seen.stdout or "127.0.0.1" not in seen.stdout:
            raise Skipped(f"localhost cannot be given two addresses: {seen.stderr or seen.stdout}")
        redis = run.redis(host=host)
        server = run.multicast(redis=f"redis://localhost:{redis.port}", wrapper=wrapper)
        wait_joined(server, redis)
        redis.kill()
        server.wait_line("redis.*localhost", 5)
        redis.start()
        wait_joined(server, redis)
        joined += 1
    run.note(f"{joined} orders of addresses; {seen.stdout.split()[0]} first in the last one")


UNIX_FORMS = {
    "unix": ("unix://{}", "default", 0),
    "redis_unix": ("redis+unix://{}", "default", 0),
    "a_database": ("unix://{}?db=6", "default", 6),
    "a_user_and_a_database": (f"redis+unix://app:{QUOTED}@{{}}?db=2", "app", 2),
    "a_user": (f"unix://app:{QUOTED}@{{}}", "app", 0),
}


@variants("a_unix_socket_works_with_a_url_of_{}", UNIX_FORMS)
def unix_socket(run, how):
    template, user, database = how
    path = run.folder / "redis.sock"
    redis = run.enter_context(Redis(run.folder, "--unixsocket", path, "--user", "app", "on", f">{SECRET}", "~*", "&*",
                                    "+@all", port=0, connect=resp.unix(path)))
    first, second = (run.multicast(redis=template.format(path), prefix="u:") for _ in range(2))
    wait_joined(first, redis, "u:")
    a, b = run.client(first, "/x"), run.client(second, "/x")
    wait_linked(a, b)
    got = {(client["user"], client["db"]) for client in redis.clients()}
    require(got == {(user, str(database))}, f"user and db: {got}, not {user}, {database}")
    began = time.monotonic()
    redis.kill()
    first.wait_line(f"redis.*{path}", 5, began)
    redis.start()
    wait_joined(first, redis, "u:")
    require(SECRET not in first.text() and QUOTED not in first.text(), "the password is in the log")


BAD = ["", "redis", "redis:", "redis://", "redis:///0", "127.0.0.1:6379", "localhost", "http://127.0.0.1:6379",
       "redis://127.0.0.1:port", "redis://127.0.0.1:65536", "redis://127.0.0.1:-1", "redis://127.0.0.1/x",
       "redis://127.0.0.1/-1", "redis://127.0.0.1/1/2", "redis://127.0.0.1/99999999999999999999",
       "redis://%zz:a@127.0.0.1", "redis://a:%f@127.0.0.1",
       "redis://[::1", "redis://::1]:6379", "redis://a b/", "redis://:@", "unix://", "unix:", "redis+unix://user:a@",
       "unix:///tmp/x?db=x", "unix:///tmp/x?db=-1", "rediss://", "redis+tls://127.0.0.1", "ws://127.0.0.1"]


@case
def a_bad_url_ends_the_process_with_a_word_on_stderr_within_3_s(run):
    wrong = []
    for url in BAD:
        server, began = Multicast(run.binary, redis=url), time.monotonic()
        try:
            with server:
                wrong.append(f"{url!r} is accepted")
                continue
        except Violated:
            pass
        status, seconds = server.wait(1), time.monotonic() - began
        if not status or status < 0 or seconds > 3 or not server.text().strip() or "panicked" in server.text():
            wrong.append(f"{url!r}: status {status} after {seconds:.1f} s, stderr {server.text()[:200]!r}")
    require(not wrong, "; ".join(wrong))
    run.note(f"{len(BAD)} URLs")


@case
def a_host_name_that_does_not_exist_is_logged_and_tried_again(run):
    server = run.multicast(redis=f"redis://does-not-exist.invalid:{free_port()}")
    a, b = run.client(server, "/x"), run.client(server, "/x")
    a.send("x")
    b.expect(["x"])
    server.wait_line("redis.*does-not-exist.invalid", 15)
    wait_until(lambda: sum("does-not-exist" in line for _, line in server.lines) >= 2, 20, "a second log line")
    status, seconds = server.terminate()
    require(status == 0 and seconds < 5, f"SIGTERM: status {status} after {seconds:.1f} s")
