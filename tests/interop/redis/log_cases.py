"""What the log says about Redis."""

import contextlib
import re
import time
import urllib.parse

from registry import Violated, case, require, variants
from servers import SECRET, Multicast, wait_joined

LOSS, TRY = r"lost|closed|disconnect|gone|fail|no answer|tim", r"attempt|\btry|tries|again|retry"
RETURN = r"\b(connected|joined|back|restored)\b"


def require_outage_is_logged(run, server, address, began, back):
    """Loss, reason, tries and return, each with `redis` and the address, in at most about 30 lines."""
    server.wait_line(RETURN, 3, back)
    lines = [(when, line) for when, line in server.lines[:] if when >= began and "listening" not in line]
    run.note(f"{len(lines)} log lines")
    require(len(lines) <= 30, f"{len(lines)} log lines for one outage")
    without = [line for _, line in lines if "redis" not in line.lower() or address not in line]
    require(not without, f"lines without redis or {address}: {without[:3]}")
    during = [line for when, line in lines if when < back]
    require(any(re.search(LOSS, line, re.I) for line in during), f"no line tells the loss: {during}")
    require(any(re.search(TRY, line, re.I) for line in during), f"no line tells a try: {during}")


@case(limit=110)
def a_minute_of_outage_is_logged_in_at_most_30_lines_with_the_address_and_without_the_password(run):
    redis = run.redis("--user", "app", "on", f">{SECRET}", "~*", "&*", "+@all")
    quoted = urllib.parse.quote(SECRET, safe="")
    server = run.multicast(redis=f"redis://app:{quoted}@{redis.address}")
    wait_joined(server, redis)
    began = time.monotonic()
    redis.kill()
    time.sleep(60)
    back = redis.start()
    wait_joined(server, redis)
    require_outage_is_logged(run, server, redis.address, began, back)
    require_no_secret(server, SECRET, quoted)


def require_no_secret(server, *secrets):
    for secret in secrets:
        lines = [line for _, line in server.lines if secret in line]
        require(not lines, f"the password is in the log: {lines[:2]}")


@variants("the_password_is_never_logged_if_{}", {
    "it_is_wrong": ("redis://app:{}@{}", True), "it_is_wrong_and_without_a_user": ("redis://:{}@{}/1", True),
    "tls_fails": ("rediss://app:{}@{}", True), "nothing_listens": ("redis://app:{}@{}/3", False)})
def no_secret(run, how):
    template, listens = how
    redis = run.redis(start=listens)
    quoted = urllib.parse.quote(SECRET, safe="")
    server = run.multicast(redis=template.format(quoted, redis.address))
    server.wait_line("redis")
    server.wait_line(TRY)
    server.terminate()
    require_no_secret(server, SECRET, quoted, "w0rd", "p@ss")
    run.note(next(line for _, line in server.lines if "redis" in line.lower())[:200])


@case
def a_bad_url_is_refused_without_showing_its_password(run):
    shown = []
    for template in ("redis://app:{}@127.0.0.1:port", "redis://:{}@127.0.0.1:6379/x", "rediss://app:{}@",
                     "http://a:{}@b", "unix://app:{}@", "redis://app:{}@127.0.0.1:99999"):
        server = Multicast(run.binary, redis=template.format("hunter2"))
        with contextlib.suppress(Violated), server:
            pass
        if "hunter2" in server.text():
            shown.append(server.text()[:200])
    require(not shown, f"the password is on stderr: {shown}")
