"""The measured servers: building, starting, and their versions; and the description of the machine."""

import contextlib
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS, CANARY = "ws-reactor", "raw TCP"
MAX_MESSAGE = 64 * 1024 * 1024  # bytes; accepted by all servers

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
THEIR_TARGET = TARGET / "compare"
NODE = THEIR_TARGET / "node"
NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
LOAD = TARGET / "release" / "examples" / "load"
SECOND_CORE = min(1, os.cpu_count() - 1)


@dataclass(frozen=True)
class Server:
    name: str
    command: tuple = ()  # empty for a server that speaks HTTP only
    slow: bool = False  # interpreted: takes milliseconds for a large message
    broadcast: tuple = ()  # the command for `--broadcast`, if it is another program
    http: tuple = ()  # the command for `--http`, if it is another program

    def command_for(self, arguments):
        """The command with these arguments. None if the server has no program for them."""
        if self.broadcast and "--broadcast" in arguments:
            # The program serves nothing else.
            return self.broadcast
        command = self.http or self.command if "--http" in arguments else self.command
        return (*command, *arguments) if command else None


def build(peers, wanted):
    """Builds all servers that are available on this machine, and all clients. The canary and ours come first."""
    run("cargo", "build", "--release", "--examples", cwd=ROOT)
    run("cargo", "build", "--release", "--target-dir", THEIR_TARGET, cwd=HERE)
    theirs = THEIR_TARGET / "release"
    examples = TARGET / "release" / "examples"
    # The other servers send no keepalive pings, so ours sends none either.
    echo = (examples / "echo", "--max-message", MAX_MESSAGE, "--no-ping")
    multicast = (examples / "multicast", "--no-ping")
    ours = Server(OURS, echo, broadcast=multicast, http=(theirs / "http_ws_reactor",))
    servers = [Server(CANARY, (theirs / "raw",)), ours]
    for peer in peers:
        name, command = peer.split("=", 1)
        servers.append(Server(name, tuple(shlex.split(command))))
    programs = ("fastwebsockets", "tokio_tungstenite", "sockudo_ws", "wtx", "ws_rs")
    servers += [Server(name.replace("_", "-"), (theirs / name,)) for name in programs]
    if not (NODE / "node_modules" / "ws").exists():
        NODE.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--silent", "--prefix", NODE, "ws", "bufferutil")
    servers.append(Server("Node ws", ("node", HERE / "src" / "node_ws.mjs"), slow=True))
    em_websocket = ["ruby", "-e", "require 'em-websocket'"]
    if shutil.which("ruby") and subprocess.run(em_websocket, capture_output=True).returncode == 0:
        servers.append(Server("em-websocket", ("ruby", HERE / "src" / "em_websocket.rb"), slow=True))
    servers.append(Server("hyper", http=(theirs / "http_hyper",)))
    servers.append(Server("Node http", http=("node", HERE / "src" / "node_http.mjs")))
    if NGINX:
        servers.append(Server("nginx", http=("python3", HERE / "src" / "nginx_http.py")))
    return [server for server in servers if not wanted or server.name in (OURS, CANARY, *wanted)]


def clients(wanted):
    """The clients that `build` has built. The canary, a client without a library, and our two come first."""
    names = {CANARY: "raw", OURS: "ws_reactor", "BlockingSocket": "blocking_socket"}
    names |= {name: name.replace("-", "_") for name in ("nexus-web", "boomnet", "tungstenite", "fastwebsockets",
                                                        "tokio-tungstenite", "yawc")}
    programs = [Server(name, (THEIR_TARGET / "release" / f"client_{file}",)) for name, file in names.items()]
    # nexus-web uses aws-lc-rs as well, the others ring.
    programs.insert(2, Server("with aws-lc-rs", (*programs[1].command, "--aws-lc-rs")))
    return [client for client in programs if not wanted or client.name in (OURS, CANARY, *wanted)]


def run(*command, cwd=None):
    subprocess.run([str(word) for word in command], cwd=cwd, check=True)


class Running:
    """A server process on a core, the first by default."""

    def __init__(self, server, arguments, core=0):
        command = server.command_for(arguments)
        if not command:
            raise Refused(f"{server.name} has no program for {arguments}")
        environment = {**os.environ, "NODE_MODULES": str(NODE / "node_modules")}
        command = ["taskset", "-c", str(core), *map(str, command), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        line = self.process.stderr.readline()
        match = re.match(r"listening on (\S+)", line)
        if not match:
            refused = self.process.wait() == 2
            raise Refused(line.strip()) if refused else RuntimeError(f"{server.name} did not start: {line.strip()}")
        self.url = match[1]

    def end(self):
        self.process.kill()
        self.process.wait()


FEEDER = Server("feeder", (THEIR_TARGET / "release" / "feeder",))  # the server of the measured clients


class Refused(Exception):
    """The server does not support the requested options."""


@contextlib.contextmanager
def certificate():
    """Creates a P-256 certificate for localhost. Yields the options of a server that use it."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{name}.pem" for name in ("certificate", "key")]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             # rustls does not accept the certificate of a CA from a server.
             "-addext", "basicConstraints=critical,CA:FALSE",
             "-out", files[0], "-keyout", files[1]],
            check=True, capture_output=True,
        )
        yield ("--tls-cert", files[0], "--tls-key", files[1])


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
    }


def versions(servers):
    """The versions of the compiler and of the servers, as far as they are known."""
    found = {"rustc": output_of("rustc", "--version").split()[1]}
    tree = output_of("cargo", "tree", "--depth", "1", "--prefix", "none", cwd=HERE)
    crates = dict(line.split()[:2] for line in tree.splitlines() if " v" in line)
    for server in (server for server in servers if server.name != OURS):
        for crate in (server.name, server.name.removesuffix("-rs")):
            if crate in crates:
                found[server.name] = crates[crate].removeprefix("v")
    if any(server.name == "Node ws" for server in servers):
        package = (NODE / "node_modules" / "ws" / "package.json").read_text()
        version = re.search(r"version.: .([^,]*).,", package)[1]
        found["Node ws"] = f'{version} on Node {output_of("node", "--version").strip()}'
    if any(server.name == "Node http" for server in servers):
        found["Node http"] = output_of("node", "--version").strip()
    if any(server.name == "nginx" for server in servers):
        found["nginx"] = subprocess.run([NGINX, "-v"], capture_output=True, text=True).stderr.strip().split("/")[-1]
    if any(server.name == "em-websocket" for server in servers):
        query = ("dpkg-query", "--show", "--showformat=${Version}", "ruby-em-websocket")
        found["em-websocket"] = output_of(*query)
    return found


def output_of(*command, cwd=None):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True).stdout
