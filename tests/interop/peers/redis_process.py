"""A redis-server on a free port, which can be killed and started again, and a cluster of three."""

import contextlib
import pathlib
import socket
import subprocess
import tempfile
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """`with RedisServer() as redis:` waits until it answers, at `redis.url`."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                   *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


class RedisCluster:
    """`with RedisCluster() as cluster:` waits until three nodes have all slots. `cluster.url` is that of one of them."""

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.nodes = []
        for number in range(3):
            (folder / str(number)).mkdir()
            node = RedisServer("--dir", str(folder / str(number)), "--cluster-enabled", "yes",
                               "--cluster-port", str(free_port()))
            self.nodes.append(self.stack.enter_context(node))
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        subprocess.run(["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"], check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        self.url = self.nodes[0].url
        until = time.monotonic() + 20
        while not all("cluster_state:ok" in self.command(node, "CLUSTER", "INFO") for node in self.nodes):
            if time.monotonic() > until:
                raise TimeoutError("the nodes form no cluster")
            time.sleep(0.1)
        return self

    def command(self, node, *words):
        """Sends a command to a node. Returns its answer."""
        command = ["redis-cli", "-p", str(node.port), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def move_slot(self, key, target):
        """Gives the slot of a key, which has none, to another node. The steps are those of a migration: without them
        the nodes have no newer epoch, and may go back to what they knew."""
        slot = self.command(target, "CLUSTER", "KEYSLOT", key).strip()
        source = next(node for node in self.nodes if "MOVED" not in self.command(node, "GET", key))
        if source is target:
            return
        name = self.command(target, "CLUSTER", "MYID").strip()
        self.command(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.command(source, "CLUSTER", "MYID").strip())
        self.command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", name)
        for node in [target, source, *(node for node in self.nodes if node not in (source, target))]:
            self.command(node, "CLUSTER", "SETSLOT", slot, "NODE", name)

    def __exit__(self, *_):
        self.stack.close()
