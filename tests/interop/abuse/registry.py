"""The registered checks, in the order of their definition."""

import dataclasses
import typing

MODES = ("plain", "tls", "deflate")


@dataclasses.dataclass
class Check:
    title: str
    body: typing.Callable
    max_growth: int | None  # of the server's memory during the check, in MiB
    parallel: bool  # mostly waits, and runs at the same time as the other parallel checks
    modes: tuple
    last: bool  # runs after all other checks


checks = []


def check(title, max_growth=None, parallel=False, modes=MODES, last=False):
    def register(body):
        checks.append(Check(title, body, max_growth, parallel, modes, last))
        return body

    return register
