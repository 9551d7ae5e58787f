"""One scenario: all servers with their load, slice by slice in turn, and what is left of it when the noise is out."""

import json
import os
import statistics
import subprocess

from field import CANARY, LOAD, Refused, Running

CANARY_LOAD = ("echo", ("--bytes", 16, "--connections", 100))
CANARY_SECONDS = 0.2
WARM_UP = 1  # slices
FAR = 1.15  # from the median: such a canary says that somebody else has had the core
SLOW_ROUNDS = 1


class Load:
    """A load generator on the second core, which works a slice when it is told to."""

    def __init__(self, running, kind, arguments, seconds):
        command = [LOAD, kind, running.url, "--pid", running.process.pid, "--spin", "--json", "--seconds", seconds, *arguments]
        command += [] if kind == "idle" else ["--paced"]
        core = min(1, os.cpu_count() - 1)
        self.process = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

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
    def __init__(self, server, scenario, tls, seconds):
        self.name, self.slow, self.slices, self.failed = server.name, server.slow and scenario.slow, [], None
        arguments = [*scenario.server, *(tls if scenario.tls else ())]
        self.running = Running(server, arguments)
        self.load = Load(self.running, scenario.kind, scenario.load, seconds)

    def slice(self):
        if not self.failed:
            measured = self.load.slice()
            if measured is None:
                self.failed = "the connection broke, or the bytes were others"
            self.slices.append(measured)

    def end(self):
        self.load.end()
        self.running.end()


def measure(scenario, servers, tls, rounds, seconds):
    rounds, seconds = scenario.rounds or rounds, scenario.seconds or seconds
    canary = Running(servers[0], [])
    canary_load = Load(canary, *CANARY_LOAD, CANARY_SECONDS)
    contenders, canaries = [], []
    try:
        for server in servers:
            if server.name == CANARY and not scenario.canary:
                continue
            try:
                contenders.append(Contender(server, scenario, tls, seconds))
            except Refused:
                pass
        for round_ in range(rounds + WARM_UP if scenario.kind != "idle" else 1):
            canaries.append(canary_load.slice()["cpu_ns"])
            # Nobody always comes behind the same neighbour.
            for contender in contenders[round_ % len(contenders):] + contenders[: round_ % len(contenders)]:
                if not contender.slow or round_ < WARM_UP + SLOW_ROUNDS:
                    contender.slice()
    finally:
        for contender in contenders:
            contender.end()
        canary_load.end()
        canary.end()
    return summary(scenario, contenders, canaries)


def summary(scenario, contenders, canaries):
    middle = statistics.median(canaries)
    quiet = [index for index, cost in enumerate(canaries) if middle / FAR <= cost <= middle * FAR]
    if scenario.kind != "idle":
        quiet = [index for index in quiet if index >= WARM_UP]
    figures = {}
    for contender in contenders:
        # Who has one round has that, whatever the canary says.
        rounds = range(WARM_UP, len(contender.slices)) if contender.slow else quiet
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
        "left_out": len(canaries) - len(quiet) - (scenario.kind != "idle") * WARM_UP,
        "canary_ns": middle,
        "servers": figures,
    }
