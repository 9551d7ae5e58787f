"""The checks, in the order in which they were written down."""

import dataclasses
import typing

MODES = ("plain", "tls", "deflate")


@dataclasses.dataclass
class Check:
    title: str
    body: typing.Callable
    grows: int | None  # by how many MiB the server may grow meanwhile
    waits: bool  # nearly all of its time; it may do so beside others
    modes: tuple
    last: bool  # when all else is over


checks = []


def check(title, grows=None, waits=False, modes=MODES, last=False):
    def register(body):
        checks.append(Check(title, body, grows, waits, modes, last))
        return body

    return register
