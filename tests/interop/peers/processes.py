"""Installs the packages of the peers, runs the peers as processes, and counts their checks."""

import os
import signal
import subprocess
import sys
import threading

from example_server import Failed

INSTALL_TIMEOUT, CHECK_TIMEOUT = 240, 240  # seconds


def install(command, directory):
    try:
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=INSTALL_TIMEOUT)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: timed out after {INSTALL_TIMEOUT} s") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-3000:]}")


def venv_python(venv, requirements):
    """Installs the packages that a file lists in a virtual environment. Returns the path of its Python."""
    if not (venv / "bin" / "pip").exists():
        install([sys.executable, "-m", "venv", "--clear", str(venv)], requirements.parent)
    install([str(venv / "bin" / "pip"), "install", "-r", str(requirements)], requirements.parent)
    return str(venv / "bin" / "python")


running = set()  # processes of peers


def run_peer(name, command, environment, limit=CHECK_TIMEOUT):
    """Prints the output of the peer and counts its checks. A peer without checks has failed."""
    passed = failed = 0
    try:
        peer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, errors="replace", start_new_session=True, env={**os.environ, **environment})
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    running.add(peer)
    timer = threading.Timer(limit, end, [peer])
    timer.start()
    try:
        for line in peer.stdout:
            tell(line.rstrip("\n"))
            passed += line.startswith("ok ")
            failed += line.startswith("FAILED ")
        status = peer.wait(20)
    finally:
        timer.cancel()
        end(peer)
        running.discard(peer)
    if (status != 0 and not failed) or not passed + failed:
        tell(f"FAILED  {name}: exit status {status} after {passed} checks (timeout {limit} s)")
        failed += 1
    return passed, failed


def tell(line):
    """Prints a line whole, even if other threads print at the same time."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def end_running():
    """Ends the peers of all threads."""
    for peer in list(running):
        end(peer)


def end(peer):
    try:
        os.killpg(peer.pid, signal.SIGTERM)
        peer.wait(10)  # so that the peer can end its own child processes
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    try:
        os.killpg(peer.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
