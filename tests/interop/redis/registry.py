"""The cases: each is a function with a sentence as its name, registered with `@case`."""

import contextlib
import pathlib
import time

cases = {}  # by name


class Violated(Exception):
    """The contract does not hold. The text is the evidence."""


class Skipped(Exception):
    """This machine cannot run the case."""


class Options:
    """How a case runs: `alone` or beside others, within `limit` seconds."""

    def __init__(self, body, alone, limit):
        self.body, self.alone, self.limit = body, alone, limit


def case(body=None, *, alone=False, limit=60):
    def register(body):
        if body.__name__ in cases:
            raise ValueError(f"two cases are named {body.__name__}")
        cases[body.__name__] = Options(body, alone, limit)
        return body

    return register(body) if body else register


def variants(name, values, **options):
    """Registers a body once for each value. `{}` in `name` becomes the name of the value."""

    def register(body):
        for label, value in values.items():
            def bound(run, value=value):
                return body(run, value)

            bound.__name__ = name.format(label)
            case(bound, **options)
        return body

    return register


class Run(contextlib.ExitStack):
    """What a case uses. Everything entered here is ended after the case."""

    def __init__(self, binary, folder):
        super().__init__()
        self.binary, self.folder = binary, pathlib.Path(folder)
        self.notes = []

    def multicast(self, *arguments, **options):
        from servers import Multicast

        return self.enter_context(Multicast(self.binary, *arguments, **options))

    def redis(self, *options, **more):
        from servers import Redis

        return self.enter_context(Redis(self.folder, *options, **more))

    def client(self, multicast, path="/", **options):
        from websocket import Client

        return self.enter_context(Client(multicast.address, path, **options))

    def note(self, text):
        """Adds `text` to the line of the case."""
        self.notes.append(text)


def wait_until(condition, timeout=10, what=None):
    """Polls until the condition is true. Returns its value, and raises `Violated` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            text = what() if callable(what) else what
            raise Violated(f"not within {timeout} s: {text or 'the condition'}")
        time.sleep(0.01)


def require(condition, evidence):
    if not condition:
        raise Violated(evidence() if callable(evidence) else evidence)


def shown(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}… ({len(text)} characters) …{text[-60:]}"
