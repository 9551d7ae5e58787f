"""`rediss://` with a certificate authority made for the test."""

import socket
import ssl
import subprocess
import time

from registry import case, require, variants
from servers import Redis, free_port, wait_joined, wait_linked


class Authority:
    """A CA in a folder of its own."""

    def __init__(self, folder, name):
        self.folder = folder / name
        self.folder.mkdir()
        self.file = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        openssl("req", "-x509", *NEW_KEY, "-days", "7", "-subj", f"/CN={name}",
                "-addext", "keyUsage=critical,keyCertSign", "-keyout", self.key, "-out", self.file)

    def certificate(self, *names):
        """The files of a certificate for the names, and of its key."""
        stem = self.folder / "-".join(names).replace(":", "_")
        openssl("req", "-x509", *NEW_KEY, "-days", "7", "-subj", "/CN=redis", "-CA", self.file, "-CAkey", self.key,
                "-addext", f"subjectAltName={','.join(names)}", "-addext", "basicConstraints=critical,CA:FALSE",
                "-keyout", f"{stem}.key", "-out", f"{stem}.pem")
        return f"{stem}.pem", f"{stem}.key"


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr}")


def tls_redis(run, authority, names, port=None, options=()):
    """Redis with TLS only, on 127.0.0.1."""
    certificate, key = authority.certificate(*names)
    port = port or free_port()
    context = ssl.create_default_context(cafile=str(authority.file))
    context.check_hostname = False

    def connect():
        return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5))

    redis = Redis(run.folder, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key,
                  "--tls-ca-cert-file", authority.file, "--tls-auth-clients", "no", *options, port=0, connect=connect)
    redis.port, redis.address, redis.certificate = port, f"127.0.0.1:{port}", (certificate, key)
    redis.options += ["--port", "0"]
    return run.enter_context(redis)


@variants("rediss_works_with_the_roots_of_redis_ca_and_{}",
          {"an_address": ("127.0.0.1", "IP:127.0.0.1"), "a_name": ("localhost", "DNS:localhost")})
def rediss(run, how):
    host, name = how
    authority = Authority(run.folder, "right")
    redis = tls_redis(run, authority, [name], options=["--user", "app", "on", ">secret", "&*", "+@all"])
    url = f"rediss://app:secret@{host}:{redis.port}/3"
    first, second = (run.multicast(redis=url, ca=authority.file, prefix="t:", threads=threads) for threads in (1, 2))
    a, b = run.client(first, "/x"), run.client(second, "/x")
    wait_linked(a, b), wait_linked(b, a)
    clients = redis.clients()
    got = {(client["user"], client["db"]) for client in clients}
    require(got == {("app", "3")} and len(clients) <= 6, f"{clients}")
    big = "é" * (1 << 20)
    a.send(big, b"\xff" * (2 << 20))
    require(b.wait_message(big, 10) and b.wait_message(b"\xff" * (2 << 20), 10), "2 MiB cross with TLS")
    a.take(), b.take()
    a.send("x", "x", "x")
    b.wait_for(3)
    redis.publish("t:x", "x", "x", "fence")
    for client in (a, b):
        got = [message for message in client.take("fence") if not message.startswith("probe")]
        require(got == ["x"] * 5, f"{got}")
    began = time.monotonic()
    redis.kill()
    first.wait_line(f"redis.*{host}:{redis.port}", 5, began)
    redis.start()
    wait_linked(a, b), wait_linked(b, a)


def require_unused(redis):
    """No connection has sent a command. Redis also lists connections whose TLS handshake has not ended."""
    used = [client for client in redis.clients() if client["cmd"] != "NULL"]
    require(not used, f"the process uses a connection: {used}")


def wrong_authority(run, right):
    return Authority(run.folder, "wrong"), ["IP:127.0.0.1"]


def wrong_name(run, right):
    return right, ["DNS:example.com", "IP:127.0.0.2"]


@variants("a_{}_is_refused_and_logged_and_tried_again", {"wrong_ca": wrong_authority, "wrong_name": wrong_name})
def refused_certificate(run, make):
    right = Authority(run.folder, "right")
    authority, names = make(run, right)
    wrong = tls_redis(run, authority, names)
    server = run.multicast(redis=f"rediss://:secret@{wrong.address}", ca=right.file, prefix="t:")
    a, b = run.client(server, "/x"), run.client(server, "/x")
    when = server.wait_line(f"redis.*{wrong.address}.*(certif|issuer|name|tls)", 10)
    run.note(next(line for at, line in server.lines if at == when)[-200:])
    a.send("local")
    b.expect(["local"])
    server.wait_line("redis", 10, when + 0.1)
    require_unused(wrong)
    require("secret" not in server.text(), "the password is in the log")
    require(not wrong.channels(), f"subscribed: {wrong.channels()}")
    wrong.kill()
    good = tls_redis(run, right, ["IP:127.0.0.1"], wrong.port, ["--requirepass", "secret"])
    wait_joined(server, good, "t:")


@case
def a_certificate_of_an_unknown_ca_is_refused_without_redis_ca(run):
    redis = tls_redis(run, Authority(run.folder, "unknown"), ["DNS:localhost", "IP:127.0.0.1"])
    server = run.multicast(redis=f"rediss://:secret@{redis.address}")
    when = server.wait_line(f"redis.*{redis.address}", 10)
    server.wait_line(f"redis.*{redis.address}", 10, when + 0.05)
    require_unused(redis)
    require("connected" not in server.text(), f"stderr: {server.text()[-300:]!r}")


@case
def rediss_to_a_server_without_tls_and_redis_to_one_with_tls_are_logged_and_tried_again(run):
    right = Authority(run.folder, "right")
    plain, secure = run.redis(), tls_redis(run, right, ["IP:127.0.0.1"])
    for url, address in ((f"rediss://{plain.address}", plain.address), (f"redis://{secure.address}", secure.address)):
        server = run.multicast(redis=url, ca=right.file)
        a, b = run.client(server, "/x"), run.client(server, "/x")
        when = server.wait_line(f"redis.*{address}", 15)
        server.wait_line(f"redis.*{address}", 15, when + 0.05)
        a.send("x")
        b.expect(["x"])
        require(server.cpu_share(2) < 0.05, "more than 5 % CPU")
