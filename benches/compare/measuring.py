"""Measures a scenario: all servers in alternating time slices, without the rounds that other processes disturbed."""

import json
import statistics
import subprocess

from field import CANARY, FEEDER, LOAD, SECOND_CORE, Refused, Running
from scenarios import CLIENT

CANARY_LOAD = ("echo", ("--bytes", 16, "--connections", 100))
CANARY_SECONDS = 0.2
WARM_UP_ROUNDS = 1
CANARY_TOLERANCE = 1.15  # times the median; beyond it, another process has used the core
SLOW_ROUNDS = 1


class Load:
    """A load generator on the second core, which runs a time slice on request."""

    def __init__(self, running, kind, arguments, seconds):
        command = [LOAD, kind, running.url, "--pid", running.process.pid, "--spin", "--json"]
        command += ["--seconds", seconds, *arguments]
        command += [] if kind == "idle" else ["--paced"]
        command = ["taskset", "-c", str(SECOND_CORE), *map(str, command)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def slice(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def end(self):
        self.process.kill()
        self.process.wait()


class Contender:
    """A server with its load, and the results of its slices."""

    def __init__(self, server, scenario, tls, seconds):
        self.name, self.slow, self.slices, self.failed = server.name, server.slow and scenario.slow, [], None
        arguments = [*scenario.server, *(tls if scenario.tls else ())]
        self.running = Running(server, arguments)
        self.load = Load(self.running, scenario.kind, scenario.load, seconds)

    def slice(self):
        if not self.failed:
            measured = self.load.slice()
            if measured is None:
                self.failed = "a connection ended, or an echo differs"
            self.slices.append(measured)

    def end(self):
        self.load.end()
        self.running.end()


class Client:
    """A measured client on the first core. Each slice is a process of its own, with a feeder of its own."""

    PROBE_SECONDS = 0.01  # of the run that shows whether the library supports the options

    def __init__(self, client, scenario, tls, seconds):
        self.name, self.slow, self.slices, self.failed = client.name, False, [], None
        self.command, self.seconds, self.tls = client.command, seconds, tls if scenario.tls else ()
        self.options = [*scenario.load, *(("--ca", tls[1]) if scenario.tls else ())]
        self.run(self.PROBE_SECONDS)

    def run(self, seconds):
        feeder = Running(FEEDER, self.tls, SECOND_CORE)
        try:
            url = feeder.url.replace("127.0.0.1", "localhost") if self.tls else feeder.url
            program, *own = self.command
            command = ["taskset", "-c", "0", program, url, *own, *self.options, "--seconds", seconds]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        finally:
            feeder.end()
        if done.returncode == 2:
            raise Refused(done.stderr.strip())
        return json.loads(done.stdout) if done.returncode == 0 else None

    def slice(self):
        if not self.failed:
            measured = self.run(self.seconds)
            if measured is None:
                self.failed = "a message is missing, or the connection ended"
            self.slices.append(measured)

    def end(self):
        pass


def measure(scenario, servers, entrants, tls, rounds, seconds):
    """Measures the entrants: the servers, or the clients."""
    rounds, seconds = scenario.rounds or rounds, scenario.seconds or seconds
    canary = Running(servers[0], [])
    canary_load = Load(canary, *CANARY_LOAD, CANARY_SECONDS)
    contenders, canaries = [], []
    try:
        for entrant in entrants:
            if entrant.name == CANARY and not scenario.canary:
                continue
            try:
                kind = Client if scenario.kind == CLIENT else Contender
                contenders.append(kind(entrant, scenario, tls, seconds))
            except Refused:
                pass
        for round_ in range(rounds + WARM_UP_ROUNDS if scenario.kind != "idle" else 1):
            canaries.append(canary_load.slice()["cpu_ns"])
            # Each round starts with another server.
            for contender in contenders[round_ % len(contenders):] + contenders[: round_ % len(contenders)]:
                if not contender.slow or round_ < WARM_UP_ROUNDS + SLOW_ROUNDS:
                    contender.slice()
    finally:
        for contender in contenders:
            contender.end()
        canary_load.end()
        canary.end()
    return summary(scenario, contenders, canaries)


def summary(scenario, contenders, canaries):
    median = statistics.median(canaries)
    low, high = median / CANARY_TOLERANCE, median * CANARY_TOLERANCE
    quiet = [index for index, cost in enumerate(canaries) if low <= cost <= high]
    if scenario.kind != "idle":
        quiet = [index for index in quiet if index >= WARM_UP_ROUNDS]
    figures = {}
    for contender in contenders:
        # A slow server has a single round, which is used regardless of the canary.
        rounds = range(WARM_UP_ROUNDS, len(contender.slices)) if contender.slow else quiet
        slices = [contender.slices[index] for index in rounds if index < len(contender.slices)]
        figures[contender.name] = {
            "failed": contender.failed,
            **{metric: [slice_[metric] for slice_ in slices if slice_] for metric in scenario.metrics},
            "away_us": [slice_.get("away_us", 0) for slice_ in slices if slice_],
        }
    return {
        "name": scenario.name,
        "metrics": scenario.metrics,
        "targets": scenario.targets,
        "limits": scenario.limits,
        "rounds": len(quiet),
        "left_out": len(canaries) - len(quiet) - (scenario.kind != "idle") * WARM_UP_ROUNDS,
        "canary_ns": median,
        "servers": figures,
    }
