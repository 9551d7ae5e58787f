"""Figures as text: for the terminal, and as Markdown."""

import statistics

from field import OURS

UNITS = {"cpu_ns": ("µs", 1e-3), "answer_bytes": ("bytes", 1), "bytes_each": ("bytes", 1), "p50_us": ("µs p50", 1), "p99_us": ("µs p99", 1), "p999_us": ("µs p99.9", 1)}


def figure(scenario, server, metric):
    """The median; `None` where nothing was measured."""
    values = scenario["servers"].get(server, {}).get(metric)
    return statistics.median(values) if values else None


def ratios(scenario, other, metric):
    """Ours to another's, round by round: the median, the least and the greatest."""
    ours, theirs = (scenario["servers"].get(name, {}).get(metric) or [] for name in (OURS, other))
    pairs = sorted(our / their for our, their in zip(ours, theirs) if their)
    return (statistics.median(pairs), pairs[0], pairs[-1]) if pairs else None


def shown(metric, value):
    if value is None:
        return "–"
    value *= UNITS[metric][1]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def judged(scenario):
    """Each target: what is compared, the ratio with its spread, the target, and whether it is met."""
    for metric in scenario["metrics"]:
        if metric == "answer_bytes":
            continue
        for other, target in scenario["targets"].items():
            ratio = ratios(scenario, other, metric)
            if figure(scenario, other, metric) is not None and figure(scenario, OURS, metric) is None:
                yield f"{UNITS[metric][0]} / {other}", "failed", f"≤ {target}", False
            elif ratio:
                yield f"{UNITS[metric][0]} / {other}", "{:.3f} ({:.3f}–{:.3f})".format(*ratio), f"≤ {target}", ratio[0] <= target
        value, limit = figure(scenario, OURS, metric), scenario["limits"].get(metric)
        if value is not None and limit:
            yield UNITS[metric][0], shown(metric, value), f"≤ {limit:,}", value <= limit


def rows_of(scenario):
    lines = []
    for name, figures in scenario["servers"].items():
        values = "  ".join(f"{shown(metric, figure(scenario, name, metric)):>9} {UNITS[metric][0]}" for metric in scenario["metrics"])
        beside = ratios(scenario, name, scenario["metrics"][-1 if scenario["metrics"][-1] == "p999_us" else 0])
        ratio = "" if name == OURS or not beside else "   ours / it {:.3f} ({:.3f}–{:.3f})".format(*beside)
        lines.append(f"  {name:<20} {values}{ratio}{'   FAILED: ' + figures['failed'] if figures['failed'] else ''}")
    for what, ratio, target, met in judged(scenario):
        lines.append(f"  {'met   ' if met else 'NOT MET'} {what}: {ratio}, {target}")
    return "\n".join(lines)


def verdict(results):
    judgements = [met for scenario in results["scenarios"] for *_, met in judged(scenario)]
    return f"{judgements.count(True)} of {len(judgements)} targets met"


def markdown(results, earlier=()):
    """The figures of this run, and its ratios beside those of earlier ones."""
    machine, versions = results["machine"], results["versions"]
    names = list(dict.fromkeys(name for scenario in results["scenarios"] for name in scenario["servers"]))
    lines = [
        f"{machine['date']}, {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}; " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
    ]
    for scenario in results["scenarios"]:
        for metric in scenario["metrics"]:
            cells = ["failed" if scenario["servers"].get(name, {}).get("failed") else shown(metric, figure(scenario, name, metric)) for name in names]
            lines.append(f"| {scenario['name']}, {UNITS[metric][0]} | " + " | ".join(f"**{cell}**" if name == OURS else cell for name, cell in zip(names, cells)) + " |")
    runs = [verdicts(run) for run in (*earlier, results)]
    columns = "".join(f" run {number} |" for number in range(1, len(runs) + 1)) if earlier else " median of rounds (least–greatest) |"
    lines += ["", f"| ours beside | |{columns} target | met |", "|---|---|" + "--:|" * (len(runs) + 1) + "---|"]
    for row in dict.fromkeys(row for run in runs for row in run):
        ratios_, met = [run[row][0] if row in run else "–" for run in runs], [run[row][1] for run in runs if row in run]
        times = "yes" if all(met) else "no" if not any(met) else f"{met.count(True)} of {len(met)}"
        name, what, target = row
        lines.append(f"| {name} | {what} | {' | '.join(ratios_)} | {target} | {times} |")
    return "\n".join(lines) + "\n"


def verdicts(results):
    """Each target of a run, with its ratio and whether it was met."""
    return {(scenario["name"], what, target): (ratio, met) for scenario in results["scenarios"] for what, ratio, target, met in judged(scenario)}
