#!/usr/bin/env python3
"""Runs the Autobahn|Testsuite against the echo example or the client example, and compares each case with its
expected result.

    python3 tests/interop/autobahn/run.py                      sections 1-7, 9, 10: 301 cases
    python3 tests/interop/autobahn/run.py --cases 6 7.1.*      sections, or cases by pattern
    python3 tests/interop/autobahn/run.py --cases 12 13 -- --deflate
    python3 tests/interop/autobahn/run.py --url ws://127.0.0.1:9001
    python3 tests/interop/autobahn/run.py --client             the same cases for the client example

Exit status: 0 if all results are as expected, 1 if a case deviates or was not run, 2 if the suite cannot be set up.
"""

import argparse
import ast
import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent.parent.parent / "target")
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "peers"))
from example_server import ExampleServer, Failed, tls_arguments  # noqa: E402

PYTHON = "2.7.18"
VIRTUALENV = "virtualenv==16.7.12"
SECTIONS = ["1", "2", "3", "4", "5", "6", "7", "9", "10"]
AGENT = "ws-reactor"  # the name in the report, also for a server that never completes a handshake
MAX_MESSAGE = 17 << 20  # 9.1.6 and 9.2.6 send messages of 16 MiB
# The suite's default is 1 s for the reply to a close frame, and 1 s more for the end of the connection. A busy machine
# can need longer. The values are below the crate's close timeout of 5 s, which would otherwise hide a missing reply.
TIMEOUTS = {"closeHandshakeTimeout": 3, "serverConnectionDropTimeout": 3}
CLIENT_TIMEOUTS = {"closeHandshakeTimeout": 3}


class SetupImpossible(Exception):
    """The suite cannot run on this machine. Nothing was tested."""


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the context managers stop the server
    try:
        sections, exceptions = read_expected(HERE / "expected" / "server.txt")
        wstest = set_up(options.cache)
        if options.client:
            planned, reports, problems = run_client(wstest, options)
        elif options.url:
            planned, reports, problems = run_suite(wstest, options, options.url)
        else:
            if not os.access(options.server, os.X_OK):
                raise SetupImpossible(f"no server at {options.server}: cargo build --release --examples")
            with ExampleServer(options.server, "--max-message", str(MAX_MESSAGE), *options.extra) as server:
                planned, reports, problems = run_suite(wstest, options, server.url)
                problems = [*problems, *filter(None, [server.ended()])]
    except Failed as failed:
        sys.exit(f"autobahn: FAILED: {failed}")
    except SetupImpossible as problem:
        print(f"\nautobahn: CANNOT RUN, nothing was tested:\n  {problem}\n", file=sys.stderr)
        sys.exit(2)
    problems += [*missing_sections(options.cases, planned, sections), *deflate_problems(reports, options.report)]
    sys.exit(evaluate(planned, reports, exceptions, problems, options.report))


def arguments():
    ours, extra = sys.argv[1:], []
    if "--" in ours:
        at = ours.index("--")
        ours, extra = ours[:at], ours[at + 1 :]
    parser = argparse.ArgumentParser(usage="run.py [options] [-- additional arguments of the server]")
    parser.add_argument("--server", default=TARGET / "release" / "examples" / "echo", help="the echo example")
    parser.add_argument("--url", help="test a server that is already running")
    parser.add_argument("--client", nargs="?", const=TARGET / "release" / "examples" / "autobahn_client",
                        metavar="PROGRAM", help="test the client example, or another client program")
    parser.add_argument("--cases", nargs="+", default=SECTIONS, metavar="CASE", help="for example 6, 6.4.* or 6.4.1")
    parser.add_argument("--cache", type=pathlib.Path, default=os.environ.get("AUTOBAHN_CACHE") or TARGET / "autobahn",
                        help="directory of the installed suite (also $AUTOBAHN_CACHE)")
    parser.add_argument("--report", type=pathlib.Path,
                        help="directory of the suite's HTML report; default: report in the cache")
    parser.add_argument("--timeout", type=int, default=900, help="in seconds, for all cases together")
    parser.add_argument("--tls", action="store_true",
                        help="use wss with a new self-signed certificate (needs openssl)")
    options = parser.parse_args(ours)
    if options.url and (extra or options.client):
        parser.error("--url tests a server that is already running: no --client and no arguments after --")
    for case in options.cases:
        if not re.fullmatch(r"\d+(\.[\d*]+)*", case):
            parser.error(f"neither a section nor a case nor a pattern of cases: {case}")
    options.cache = options.cache.resolve()
    options.report = (options.report or options.cache / "report").resolve()
    options.certificate = tls_arguments(options.cache / "tls") if options.tls else []
    # By default the client refuses a self-signed certificate.
    options.extra = extra + (options.certificate if not options.client else ["--insecure"] if options.tls else [])
    return options


def read_expected(path):
    sections, exceptions = {}, {}
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == ["section"]:
            sections[words[1]] = int(words[2])
        elif words[:1] == ["case"]:
            exceptions[words[1]] = (words[2], words[3])
    return sections, exceptions


def find_python():
    """The path of CPython 2.7.18, from $AUTOBAHN_PYTHON, pyenv or $PATH. The suite runs on no other interpreter."""
    configured = os.environ.get("AUTOBAHN_PYTHON")
    roots = [os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")]
    if shutil.which("pyenv"):
        roots.insert(1, output_of(["pyenv", "root"]))
    candidates = [os.path.join(root, "versions", PYTHON, "bin", "python2.7") for root in roots if root]
    for python in [configured] if configured else [*candidates, "python2.7"]:
        query = "import platform as p; print(p.python_implementation() + ' ' + p.python_version())"
        if output_of([python, "-c", query]) == f"CPython {PYTHON}":
            return python
    where = f"AUTOBAHN_PYTHON ({configured})" if configured else "$PYENV_ROOT, pyenv, ~/.pyenv and $PATH"
    raise SetupImpossible(
        f"the Autobahn|Testsuite needs CPython {PYTHON}, not found in {where}; pyenv install {PYTHON} installs it"
    )


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def set_up(cache):
    """Returns the path of wstest. Installs the suite again only if the requirements or the interpreter changed."""
    python, requirements = find_python(), HERE / "requirements.txt"
    wanted = hashlib.sha256(f"{python} {VIRTUALENV}\n{requirements.read_text()}".encode()).hexdigest()
    marker, wstest = cache / "installed", cache / "venv" / "bin" / "wstest"
    if marker.exists() and marker.read_text() == wanted and wstest.exists():
        return wstest
    print(f"autobahn: installing the suite for {python} (half a minute)", flush=True)
    for old in ("venv", "tool"):
        shutil.rmtree(cache / old, ignore_errors=True)
    marker.unlink(missing_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    tool, venv = str(cache / "tool"), str(cache / "venv")
    clean_environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for command, environment in (
        ([python, "-m", "pip", "install", "--no-deps", "--target", tool, VIRTUALENV], clean_environment),
        ([python, "-m", "virtualenv", "--no-download", venv], {**clean_environment, "PYTHONPATH": tool}),
        ([f"{venv}/bin/python", "-m", "pip", "install", "--no-deps", "-r", str(requirements)], clean_environment),
    ):
        try:
            done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300)
        except subprocess.TimeoutExpired:
            raise SetupImpossible(f"timed out after 300 s: {' '.join(command)}") from None
        if done.returncode != 0:
            raise SetupImpossible(f"{' '.join(command)}\n{done.stdout[-3000:]}")
    marker.write_text(wanted)
    return wstest


def run_suite(wstest, options, url):
    """Tests the server at `url`. Returns the planned cases, the report of each, and other problems."""
    print(f"autobahn: {' '.join(options.cases)} against {url}", flush=True)
    problems, started = [], time.monotonic()
    suite, log = start_suite(wstest, options, "fuzzingclient", TIMEOUTS, {"servers": [{"agent": AGENT, "url": url}]})
    try:
        suite.wait(options.timeout)
    except subprocess.TimeoutExpired:
        problems.append(f"the suite did not end within {options.timeout} s")
    finally:
        suite.kill()
        suite.wait()
    print(f"autobahn: {time.monotonic() - started:.1f} s", flush=True)
    problems += re.findall(r"^Connection to .* failed .*$", log.read_text(errors="replace"), re.MULTILINE)
    return *read_report(options, log, problems), problems


def run_client(wstest, options):
    """Tests the client, with the suite as the server. Returns the same as `run_suite`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"{'wss' if options.tls else 'ws'}://127.0.0.1:{port}"
    print(f"autobahn: {' '.join(options.cases)} for {options.client} at {url}", flush=True)
    problems, started = [], time.monotonic()
    server = {"url": url}
    if options.tls:
        server |= {"cert": options.certificate[1], "key": options.certificate[3]}
    suite, log = start_suite(wstest, options, "fuzzingserver", CLIENT_TIMEOUTS, server)
    try:
        while suite.poll() is None and time.monotonic() < started + 20:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        command = [str(options.client), "--url", url, "--agent", AGENT, *options.extra]
        done = subprocess.run(command, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=options.timeout)
        if done.returncode != 0:
            problems.append(f"the client exited with status {done.returncode}: {done.stderr[-500:]}")
    except OSError as error:
        raise SetupImpossible(f"{options.client}: {error.strerror}: cargo build --release --examples") from None
    except subprocess.TimeoutExpired:
        problems.append(f"the client did not end within {options.timeout} s")
    finally:
        suite.kill()
        suite.wait()
    print(f"autobahn: {time.monotonic() - started:.1f} s", flush=True)
    return *read_report(options, log, problems), problems


def start_suite(wstest, options, mode, timeouts, endpoint):
    """Starts the suite. Returns its process and the path of its log."""
    shutil.rmtree(options.report, ignore_errors=True)  # so that an old report is not taken for this run's
    options.report.mkdir(parents=True)
    spec, log = options.report / "spec.json", options.report / "wstest.log"
    spec.write_text(json.dumps({
        **endpoint,
        "outdir": str(options.report),
        "options": timeouts,
        "cases": [f"{case}.*" if case.isdigit() else case for case in options.cases],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }))
    command = [str(wstest), "-m", mode, "-s", str(spec), "--webport", "0"]
    clean_environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("w") as output:
        return subprocess.Popen(command, cwd=options.report, env={**clean_environment, "PYTHONUNBUFFERED": "1"},
                                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT), log


def read_report(options, log, problems):
    """Returns the planned cases and the report of each."""
    output = log.read_text(errors="replace")
    planned = re.search(r"^Cases = (\[.*\])$", output, re.MULTILINE)
    index = options.report / "index.json"
    if not planned or not (index.exists() or problems):
        raise SetupImpossible(f"wstest exited without a report:\n{output[-3000:]}")
    return ast.literal_eval(planned.group(1)), json.loads(index.read_text()).get(AGENT, {}) if index.exists() else {}


def missing_sections(selected, planned, sections):
    """Yields a problem for each section with fewer or more cases than expected, so that missing cases do not pass."""
    counts = collections.Counter(case.split(".")[0] for case in planned)
    for section in filter(str.isdigit, selected):
        if counts[section] != sections.get(section):
            yield f"section {section} has {counts[section]} cases, {sections.get(section)} expected"
    if not planned:
        yield "no case was selected"


def deflate_problems(reports, directory):
    """Checks that compression was used: sections 12 and 13 also pass if it is only negotiated."""
    ratios = []
    for case, report in reports.items():
        if case.split(".")[0] in ("12", "13") and report["behavior"] == "OK":
            stats = json.loads((directory / report["reportfile"]).read_text())["trafficStats"] or {}
            ratios.append(stats.get("incomingCompressionRatio"))
    smaller = sum(ratio is not None and ratio < 1 for ratio in ratios)
    if ratios:
        print(f"autobahn: deflate: the server compressed its messages in {smaller} of {len(ratios)} cases")
    return ["deflate was negotiated but never used"] if ratios and not smaller else []


def evaluate(planned, reports, exceptions, problems, directory):
    """Compares the reports with the expected results and prints them. Returns the exit status."""
    behaviors, closes, deviations = collections.Counter(), collections.Counter(), 0
    for case in planned:
        report = reports.get(case)
        if report is None:
            behaviors["NOT RUN"] += 1
            deviations += 1
            continue
        verdict = (report["behavior"], report["behaviorClose"])
        behaviors[verdict[0]] += 1
        closes[verdict[1]] += 1
        expected = exceptions.get(case, ("OK", "OK"))
        if verdict != expected:
            deviations += 1
            detail = json.loads((directory / report["reportfile"]).read_text())
            print(f"  {case}: {verdict[0]}, close {verdict[1]} (expected {expected[0]}, close {expected[1]})")
            print(f"      {' '.join(detail['description'].split('<')[0].split())}")
            for reason in dict.fromkeys((detail["result"], detail["resultClose"], detail["wasNotCleanReason"])):
                if reason:
                    print(f"      {reason}")
    not_run = [case for case in planned if case not in reports]
    if not_run:
        print(f"  not run: {' '.join(not_run)}")
    for line in problems:
        print(f"  {line}")
    always = ("OK", "INFORMATIONAL", "NON-STRICT", "FAILED")
    kinds = [*always, *sorted(set(behaviors) - set(always))]
    counted = ", ".join(f"{behaviors[kind]} {kind}" for kind in kinds)
    bad_closes = {kind: count for kind, count in closes.items() if kind not in ("OK", "INFORMATIONAL")}
    closing = ", ".join(f"{count} {kind}" for kind, count in bad_closes.items())
    closing = closing or ("all OK" if closes else "none reported")
    print(f"autobahn: {len(planned)} cases: {counted}; closes {closing}")
    if deviations or problems:
        print(f"autobahn: FAILED: {deviations} cases deviate, {len(problems)} other problems; report in {directory}")
    return 1 if deviations or problems else 0


if __name__ == "__main__":
    main()
