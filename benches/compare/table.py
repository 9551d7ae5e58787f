"""The results as text for the terminal, and as Markdown."""

import statistics

from field import OURS

# metric -> its unit, and the factor that converts to the unit
UNITS = {
    "cpu_ns": ("µs", 1e-3),
    "answer_bytes": ("bytes", 1),
    "bytes_each": ("bytes", 1),
    "p50_us": ("µs p50", 1),
    "p99_us": ("µs p99", 1),
    "p999_us": ("µs p99.9", 1),
}


def figure(scenario, server, metric):
    """The median of the rounds; None if nothing was measured."""
    values = scenario["servers"].get(server, {}).get(metric)
    return statistics.median(values) if values else None


def ratios(scenario, other, metric):
    """The ratios of our figure to that of the other server, per round: the median, the minimum and the maximum."""
    ours, theirs = (scenario["servers"].get(name, {}).get(metric) or [] for name in (OURS, other))
    pairs = sorted(our / their for our, their in zip(ours, theirs) if their)
    return (statistics.median(pairs), pairs[0], pairs[-1]) if pairs else None


def shown(metric, value):
    if value is None:
        return "–"
    value *= UNITS[metric][1]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def targets_of(scenario):
    """Yields each target: the compared metric, the ratio with its range, the target, and whether it is met."""
    for metric in scenario["metrics"]:
        if metric == "answer_bytes":
            continue
        for other, target in scenario["targets"].items():
            ratio = ratios(scenario, other, metric)
            if figure(scenario, other, metric) is not None and figure(scenario, OURS, metric) is None:
                yield f"{UNITS[metric][0]} / {other}", "failed", f"≤ {target}", False
            elif ratio:
                measured = "{:.3f} ({:.3f}–{:.3f})".format(*ratio)
                yield f"{UNITS[metric][0]} / {other}", measured, f"≤ {target}", ratio[0] <= target
        value, limit = figure(scenario, OURS, metric), scenario["limits"].get(metric)
        if value is not None and limit:
            yield UNITS[metric][0], shown(metric, value), f"≤ {limit:,}", value <= limit


def rows_of(scenario):
    lines = []
    for name, figures in scenario["servers"].items():
        metrics = scenario["metrics"]
        values = [(shown(metric, figure(scenario, name, metric)), UNITS[metric][0]) for metric in metrics]
        values = "  ".join(f"{value:>9} {unit}" for value, unit in values)
        compared = ratios(scenario, name, metrics[-1 if metrics[-1] == "p999_us" else 0])
        ratio = "" if name == OURS or not compared else "   ours / theirs {:.3f} ({:.3f}–{:.3f})".format(*compared)
        lines.append(f"  {name:<20} {values}{ratio}{'   FAILED: ' + figures['failed'] if figures['failed'] else ''}")
    for compared, ratio, target, met in targets_of(scenario):
        lines.append(f"  {'met   ' if met else 'NOT MET'} {compared}: {ratio}, {target}")
    return "\n".join(lines)


def verdict(results):
    met_targets = [met for scenario in results["scenarios"] for *_, met in targets_of(scenario)]
    return f"{met_targets.count(True)} of {len(met_targets)} targets met"


def markdown(results, earlier=()):
    """A table of the figures of this run, and a table of its ratios and those of earlier runs."""
    machine, versions = results["machine"], results["versions"]
    names = list(dict.fromkeys(name for scenario in results["scenarios"] for name in scenario["servers"]))
    versions = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"{machine['date']}, {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}; {versions}",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
    ]
    for scenario in results["scenarios"]:
        for metric in scenario["metrics"]:
            cells = [cell(scenario, name, metric) for name in names]
            lines.append(f"| {scenario['name']}, {UNITS[metric][0]} | " + " | ".join(cells) + " |")
    runs = [verdicts(run) for run in (*earlier, results)]
    columns = " median of rounds (least–greatest) |"
    if earlier:
        columns = "".join(f" run {number} |" for number in range(1, len(runs) + 1))
    lines += ["", f"| ours beside | |{columns} target | met |", "|---|---|" + "--:|" * (len(runs) + 1) + "---|"]
    for row in dict.fromkeys(row for run in runs for row in run):
        ratios_ = [run[row][0] if row in run else "–" for run in runs]
        met = [run[row][1] for run in runs if row in run]
        all_met = "yes" if all(met) else "no" if not any(met) else f"{met.count(True)} of {len(met)}"
        name, compared, target = row
        lines.append(f"| {name} | {compared} | {' | '.join(ratios_)} | {target} | {all_met} |")
    return "\n".join(lines) + "\n"


def cell(scenario, name, metric):
    """The figure of a server as a table cell."""
    failed = scenario["servers"].get(name, {}).get("failed")
    text = "failed" if failed else shown(metric, figure(scenario, name, metric))
    return f"**{text}**" if name == OURS else text


def verdicts(results):
    """Each target of a run, with its ratio and whether it is met."""
    return {
        (scenario["name"], compared, target): (ratio, met)
        for scenario in results["scenarios"]
        for compared, ratio, target, met in targets_of(scenario)
    }
