"""The client example with servers of other projects: npm's ws, PyPI's websockets over ws and wss, and Ruby's
em-websocket in its older versions. Started by ../run.

    python3 peer.py CLIENT_PROGRAM NODE_SERVER PYTHON PYTHON_SERVER CERTIFICATE KEY
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from checks import check, equal, run  # noqa: E402

CLIENT, NODE_SERVER, PYTHON, PYTHON_SERVER, CERTIFICATE, KEY = sys.argv[1:]
DEADLINE = 20  # seconds, for each check
TEXT = "κόσμε – Grüße, 日本語, 🦀"


@contextlib.contextmanager
def server(*command):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def client(url, lines, *options, environment=()):
    """Runs the client with these input lines. Returns the lines it prints to stdout, and its stderr."""
    command = [CLIENT, "--url", url, *options]
    done = subprocess.run(command, input="".join(f"{line}\n" for line in lines), capture_output=True, text=True,
                          timeout=DEADLINE, env={**os.environ, **dict(environment)})
    return done.stdout.splitlines(), done.stderr


def exchange(url, *options, deflate=None, secure=False, environment=()):
    """Checks echoes, headers, the subprotocol, fragments, a ping and a close."""
    options = [*options, "--insecure"] if secure else options
    lines = [TEXT, "", "x" * 200_000, "send fragments"]
    printed, log = client(f"{url}/path?q", [*lines[:3], "/ping", lines[3], "show request", "close me"],
                          "--header", "X-Token: secret", "--header", "X-Other: x",
                          "--subprotocol", "a", "--subprotocol", "b", *options, "--wait", "10", environment=environment)
    equal(printed[:4], [TEXT, "", "x" * 200_000, "one, two, three"])
    equal(printed[4].split(" ")[:2], ["/path?q", "secret"])
    equal(deflate in printed[4] if deflate else printed[4].split(" ")[2], True if deflate else "")
    for expected in ("subprotocol b", "pong after ", "closed: 4001 (requested), by the peer, clean"):
        if expected not in log:
            raise AssertionError(f"{expected!r} is not in {log!r}")


@check("npm's ws")
def node():
    with server("node", NODE_SERVER) as url:
        exchange(url)


@check("npm's ws, compressed")
def node_deflate():
    with server("node", NODE_SERVER, "deflate") as url:
        exchange(url, "--deflate", deflate="permessage-deflate")


@check("npm's ws on a Unix domain socket")
def node_unix():
    with tempfile.TemporaryDirectory() as directory, server("node", NODE_SERVER, f"{directory}/chat.sock") as url:
        exchange(url)


@check("npm's ws, redirected")
def node_redirected():
    with server("node", NODE_SERVER) as url:
        exchange(f"{url}/moved/moved", "--redirects", "2")
        _, log = client(f"{url}/moved/moved/", [], "--redirects", "1")
        if "the server responded with 302 Found" not in log:
            raise AssertionError(log)


@check("websockets")
def python():
    with server(PYTHON, PYTHON_SERVER) as url:
        exchange(url)


@check("websockets over wss, compressed; the self-signed certificate is refused by default")
def python_wss():
    with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
        exchange(url, "--deflate", deflate="PerMessageDeflate", secure=True)
        _, log = client(url, [])
        if "invalid peer certificate" not in log:
            raise AssertionError(log)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextlib.contextmanager
def proxy(command, port):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@check("websockets over ws and wss through tinyproxy, with credentials")
def http_proxy():
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(f"Port {port}\nListen 127.0.0.1\nMaxClients 10\nBasicAuth user pass\n")
        config.flush()
        with proxy(["tinyproxy", "-d", "-c", config.name], port):
            through = ("--proxy", f"http://user:pass@127.0.0.1:{port}")
            with server(PYTHON, PYTHON_SERVER) as url:
                exchange(url, *through)
                _, log = client(url, [], "--proxy", f"http://127.0.0.1:{port}")
                if "the proxy responded with 407" not in log:
                    raise AssertionError(log)
            with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
                exchange(url, *through, secure=True)


@check("websockets over ws and wss through microsocks, with credentials")
def socks_proxy():
    port = free_port()
    with proxy(["microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "pass"], port):
        through = ("--proxy", f"socks5://user:pass@127.0.0.1:{port}")
        with server(PYTHON, PYTHON_SERVER) as url:
            exchange(url, *through)
            _, log = client(url, [], "--proxy", f"socks5://user:wrong@127.0.0.1:{port}")
            if "the proxy requires other credentials" not in log:
                raise AssertionError(log)
        with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
            exchange(url, *through, secure=True)
        _, log = client(f"ws://127.0.0.1:{free_port()}", [], *through)
        if "the proxy cannot connect: connection refused" not in log:
            raise AssertionError(log)


@check("websockets over ws and wss through an HTTPS proxy on Node, from the environment variables")
def secure_proxy():
    with server("node", str(pathlib.Path(NODE_SERVER).with_name("proxy.mjs")), CERTIFICATE, KEY) as through:
        proxies = {"http_proxy": through, "https_proxy": through, "no_proxy": ""}
        with server(PYTHON, PYTHON_SERVER) as url:
            exchange(url, "--proxy-from-environment", secure=True, environment=proxies)
            _, log = client(url, [], "--proxy-from-environment", environment=proxies)
            if "invalid peer certificate" not in log:
                raise AssertionError(log)
            exchange(url, "--proxy-from-environment", environment={**proxies, "no_proxy": "127.0.0.0/8"})
        with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
            exchange(url, "--proxy-from-environment", secure=True, environment=proxies)
            wrong = through.replace("user:pass", "user:wrong")
            _, log = client(url, [], "--insecure", "--proxy", wrong)
            if "the proxy responded with 407" not in log:
                raise AssertionError(log)


@check("a port without a server")
def refused_connection():
    _, log = client("ws://127.0.0.1:9", [])
    if "cannot connect to 127.0.0.1:9: " not in log or "closed: 1006" not in log:
        raise AssertionError(log)


for number in (75, 76, 1, 3, 5, 6, 7, 8, 13):

    @check(f"em-websocket, version {number}")
    def em_websocket(number=number):
        port = free_port()
        with server("ruby", str(HERE.parent / "em_websocket" / "server.rb"), str(port)) as listening:
            equal(listening, "listening")
            printed, log = client(f"ws://127.0.0.1:{port}/", [TEXT, "again"], "--version", str(number), "--wait", "1")
            equal(printed, [TEXT, "again"])
            if "connected to " not in log or "closed: " not in log:
                raise AssertionError(log)


run("client")
