"""The scenarios of servers and clients, with targets and limits.

A target is an upper limit of the ratio of our figure to that of another server in the same run. Targets depend on the
machine, so they are printed and not enforced.
"""

from dataclasses import dataclass, field

KIB, MIB = 1024, 1024 * 1024
CLIENT = "client"


@dataclass(frozen=True)
class Scenario:
    name: str
    kind: str  # the mode of the load example; CLIENT if clients are measured
    load: tuple = ()  # options of the load, or of the clients
    server: tuple = ()  # options of the servers
    metrics: tuple = ("cpu_ns",)
    targets: dict = field(default_factory=dict)  # server -> maximum of our figure divided by its figure
    limits: dict = field(default_factory=dict)  # metric -> maximum of our figure
    tls: bool = False
    slow: bool = False  # servers that take milliseconds for a message run for one round only
    rounds: int | None = None
    seconds: float | None = None

    @property
    def canary(self):
        """Whether raw TCP can run the scenario, too."""
        plain = not self.tls and not self.server
        return self.kind in ("http", CLIENT) or plain and self.kind in ("echo", "rate", "idle")


def echo(name, bytes_, connections=100, depth=1, extra=(), **more):
    load = ("--bytes", bytes_, "--connections", connections, "--depth", depth, *extra)
    return Scenario(name, "echo", load, **more)


SMALL = {"raw TCP": 1.05, "uWebSockets": 0.96}
WSS = {"fastwebsockets": 0.95, "uWebSockets": 0.80}
HTTP = {"uWebSockets": 0.95, "nginx": 0.70}
LATENCIES = ("p50_us", "p99_us", "p999_us")
DEFLATE = ("--deflate",)
LEVEL = ("--deflate-level", 6)  # zlib's own default, which uWebSockets uses


def rate(messages):
    load = ("--rate", messages, "--connections", 200, "--bytes", 125)
    return Scenario(f"{messages // 1000},000 a second of 125 B", "rate", load, metrics=LATENCIES,
                    targets={"raw TCP": 1.0}, slow=messages > 50_000, rounds=4, seconds=1.5)


SCENARIOS = [
    *[
        echo(f"echo {name}, {connections} connection{'s' * (connections > 1)}", size, connections, targets=SMALL)
        for name, size in (("16 B", 16), ("125 B", 125), ("1 KiB", KIB))
        for connections in (1, 100, 1000)
    ],
    echo("echo 16 B, 32 in flight", 16, depth=32, targets={"uWebSockets": 0.97}),
    echo("echo 1 KiB, 32 in flight", KIB, depth=32, targets={"uWebSockets": 0.60}),
    echo("echo 16 KiB", 16 * KIB, targets={"uWebSockets": 0.95}),
    echo("echo 256 KiB", 256 * KIB, 10, targets={"uWebSockets": 0.80}, slow=True),
    echo("echo 1 MiB", MIB, 10, targets={"uWebSockets": 0.75}, slow=True),
    echo("echo mixed text 16 KiB", 16 * KIB, extra=("--mixed",), targets={"uWebSockets": 0.35}),
    echo("echo mixed text 256 KiB", 256 * KIB, 10, extra=("--mixed",), targets={"uWebSockets": 0.07}, slow=True),
    echo("wss echo 125 B", 125, tls=True, targets=WSS),
    echo("wss echo 1 KiB", KIB, tls=True, targets=WSS),
    echo("wss echo 16 KiB", 16 * KIB, tls=True, targets=WSS),
    echo("wss echo 1 MiB", MIB, 10, tls=True, targets=WSS, slow=True),
    echo("deflate echo 1 KiB, dedicated", KIB, extra=DEFLATE, server=("--deflate", *LEVEL),
         metrics=("cpu_ns", "answer_bytes"), targets={"uWebSockets": 0.80}),
    echo("deflate echo 1 KiB, shared", KIB, extra=DEFLATE, server=("--deflate-shared", *LEVEL),
         metrics=("cpu_ns", "answer_bytes")),
    *[
        Scenario(
            f"fan-out to {connections}, {name}",
            "fanout",
            ("--connections", connections, "--bytes", size),
            server=("--broadcast",),
            targets={"uWebSockets": 0.90},
        )
        for connections, name, size in ((1000, "125 B", 125), (1000, "1 KiB", KIB), (10_000, "125 B", 125))
    ],
    *[
        Scenario(
            f"http GET of 100 B, {depth} in flight",
            "http",
            ("--connections", 100, "--bytes", 100, "--depth", depth),
            server=("--http",),
            targets=HTTP,
        )
        for depth in (1, 16)
    ],
    Scenario("handshake ws", "handshakes", targets={"uWebSockets": 0.90}),
    Scenario("handshake wss, full", "handshakes", tls=True, targets={"fastwebsockets": 0.95}),
    Scenario("idle connection ws", "idle", ("--connections", 5000), metrics=("bytes_each",),
             limits={"bytes_each": 272}, rounds=1),
    Scenario("idle connection wss", "idle", ("--connections", 2000), metrics=("bytes_each",),
             limits={"bytes_each": 13_000}, tls=True, rounds=1),
    rate(30_000),
    rate(100_000),
    rate(250_000),
    Scenario(
        "100 a second on each of 199, beside one that echoes 16 MiB flat out",
        "rate",
        ("--rate", 19_900, "--connections", 199, "--bytes", 125, "--greedy-bytes", 16 * MIB),
        metrics=LATENCIES,
        limits={"p999_us": 1000},
        rounds=4,
        seconds=1.5,
    ),
    echo("echo 125 B, 100 connections beside 17,000 idle", 125, extra=("--idle", 17_000), targets=SMALL),
    echo("echo 125 B, 10,000 connections", 125, 10_000, targets=SMALL),
]


def client(name, work, *options, metrics=("cpu_ns",), best=(), factor=None, targets=(), **more):
    """A scenario of clients. Our figure may be `factor` times that of each of `best`."""
    targets = {**dict.fromkeys(best, factor), **dict(targets)}
    return Scenario(f"client: {name}", CLIENT, ("--work", work, *options), metrics=metrics, targets=targets, **more)


def paced(messages, *options):
    busy = {"targets": {"boomnet": 1.0}, "metrics": LATENCIES} if options else {"metrics": ("cpu_ns", *LATENCIES)}
    name = f"{messages // 1000},000 a second of 125 B, {'busy polling' if options else 'waiting'}"
    return client(name, "paced", "--rate", messages, "--bytes", 125, *options, seconds=1.0, **busy)


OTHERS_WITH_TLS = ("nexus-web", "tungstenite", "fastwebsockets")

CLIENT_SCENARIOS = [
    *[
        client(f"feed of {name}", "feed", "--bytes", size, targets={"nexus-web": 0.9, "boomnet": 1.05})
        for name, size in (("32 B", 32), ("125 B", 125), ("1 KiB", KIB))
    ],
    *[
        client(f"wss feed of {name}", "feed", "--bytes", size, tls=True, best=OTHERS_WITH_TLS, factor=0.9)
        for name, size in (("125 B", 125), ("1 KiB", KIB))
    ],
    client("deflate feed of 1 KiB", "feed", "--bytes", KIB, "--deflate", best=("yawc",), factor=0.9),
    *[paced(messages) for messages in (10_000, 50_000, 100_000)],
    *[paced(messages, "--busy") for messages in (10_000, 50_000, 100_000)],
    client("round trip of 125 B, waiting", "rounds", "--bytes", 125, metrics=("cpu_ns", *LATENCIES)),
    client("round trip of 125 B, busy polling", "rounds", "--bytes", 125, "--busy", metrics=LATENCIES),
    *[
        client(f"sends of {name}, 32 at a time", "sends", "--bytes", size)
        for name, size in (("125 B", 125), ("1 KiB", KIB))
    ],
    client("wss sends of 125 B, 32 at a time", "sends", "--bytes", 125, tls=True),
    client("connects, ws", "connects"),
    client("connects, wss", "connects", tls=True),
]
