"""The client example, against servers nobody here wrote: npm's ws, PyPI's websockets by ws and wss, and Ruby's em-websocket in the
old versions; started by ../run.

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
    """What the client shows, and what it says about it."""
    command = [CLIENT, "--url", url, *options]
    done = subprocess.run(command, input="".join(f"{line}\n" for line in lines), capture_output=True, text=True,
                          timeout=DEADLINE, env={**os.environ, **dict(environment)})
    return done.stdout.splitlines(), done.stderr


def talk(url, *options, deflate=None, secure=False, environment=()):
    options = [*options, "--insecure"] if secure else options
    lines = [TEXT, "", "x" * 200_000, "in pieces"]
    shown, said = client(f"{url}/path?q", [*lines[:3], "/ping", lines[3], "what did I say?", "close me"],
                         "--header", "X-Token: secret", "--header", "X-Other: x", "--subprotocol", "a", "--subprotocol", "b",
                         *options, "--wait", "10", environment=environment)
    equal(shown[:4], [TEXT, "", "x" * 200_000, "one, two, three"])
    equal(shown[4].split(" ")[:2], ["/path?q", "secret"])
    equal(deflate in shown[4] if deflate else shown[4].split(" ")[2], True if deflate else "")
    for expected in ("subprotocol b", "pong after ", "closed: 4001 (as you like), by the peer, clean"):
        if expected not in said:
            raise AssertionError(f"{expected!r} is not in {said!r}")


@check("npm's ws")
def node():
    with server("node", NODE_SERVER) as url:
        talk(url)


@check("npm's ws, compressed")
def node_deflate():
    with server("node", NODE_SERVER, "deflate") as url:
        talk(url, "--deflate", deflate="permessage-deflate")


@check("npm's ws in the file system")
def node_unix():
    with tempfile.TemporaryDirectory() as directory, server("node", NODE_SERVER, f"{directory}/chat.sock") as url:
        talk(url)


@check("npm's ws, redirected")
def node_redirected():
    with server("node", NODE_SERVER) as url:
        talk(f"{url}/moved/moved", "--redirects", "2")
        _, said = client(f"{url}/moved/moved/", [], "--redirects", "1")
        if "the server responded with 302 Found" not in said:
            raise AssertionError(said)


@check("websockets")
def python():
    with server(PYTHON, PYTHON_SERVER) as url:
        talk(url)


@check("websockets by wss, compressed; not trusted unless told to")
def python_wss():
    with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
        talk(url, "--deflate", deflate="PerMessageDeflate", secure=True)
        _, said = client(url, [])
        if "invalid peer certificate" not in said:
            raise AssertionError(said)


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


@check("websockets by ws and wss through tinyproxy, with credentials")
def http_proxy():
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(f"Port {port}\nListen 127.0.0.1\nMaxClients 10\nBasicAuth user pass\n")
        config.flush()
        with proxy(["tinyproxy", "-d", "-c", config.name], port):
            through = ("--proxy", f"http://user:pass@127.0.0.1:{port}")
            with server(PYTHON, PYTHON_SERVER) as url:
                talk(url, *through)
                _, said = client(url, [], "--proxy", f"http://127.0.0.1:{port}")
                if "the proxy responded with 407" not in said:
                    raise AssertionError(said)
            with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
                talk(url, *through, secure=True)


@check("websockets by ws and wss through microsocks, with credentials")
def socks_proxy():
    port = free_port()
    with proxy(["microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "pass"], port):
        through = ("--proxy", f"socks5://user:pass@127.0.0.1:{port}")
        with server(PYTHON, PYTHON_SERVER) as url:
            talk(url, *through)
            _, said = client(url, [], "--proxy", f"socks5://user:wrong@127.0.0.1:{port}")
            if "the proxy requires other credentials" not in said:
                raise AssertionError(said)
        with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
            talk(url, *through, secure=True)
        _, said = client(f"ws://127.0.0.1:{free_port()}", [], *through)
        if "the proxy cannot connect: connection refused" not in said:
            raise AssertionError(said)


@check("websockets by ws and wss through Node's proxy by TLS, named by the environment")
def secure_proxy():
    with server("node", str(pathlib.Path(NODE_SERVER).with_name("proxy.mjs")), CERTIFICATE, KEY) as through:
        proxies = {"http_proxy": through, "https_proxy": through, "no_proxy": ""}
        with server(PYTHON, PYTHON_SERVER) as url:
            talk(url, "--proxy-from-environment", secure=True, environment=proxies)
            _, said = client(url, [], "--proxy-from-environment", environment=proxies)
            if "invalid peer certificate" not in said:
                raise AssertionError(said)
            talk(url, "--proxy-from-environment", environment={**proxies, "no_proxy": "127.0.0.0/8"})
        with server(PYTHON, PYTHON_SERVER, CERTIFICATE, KEY) as url:
            talk(url, "--proxy-from-environment", secure=True, environment=proxies)
            wrong = through.replace("user:pass", "user:wrong")
            _, said = client(url, [], "--insecure", "--proxy", wrong)
            if "the proxy responded with 407" not in said:
                raise AssertionError(said)


@check("a server that is not there")
def nobody():
    _, said = client("ws://127.0.0.1:9", [])
    if "cannot connect to 127.0.0.1:9: " not in said or "closed: 1006" not in said:
        raise AssertionError(said)


for number in (75, 76, 1, 3, 5, 6, 7, 8, 13):

    @check(f"em-websocket, version {number}")
    def em_websocket(number=number):
        port = free_port()
        with server("ruby", str(HERE.parent / "em_websocket" / "server.rb"), str(port)) as listening:
            equal(listening, "listening")
            shown, said = client(f"ws://127.0.0.1:{port}/", [TEXT, "again"], "--version", str(number), "--wait", "1")
            equal(shown, [TEXT, "again"])
            if "connected to " not in said or "closed: " not in said:
                raise AssertionError(said)


run("client")
