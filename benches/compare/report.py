"""The comparison as one self-contained HTML page: plots of CPU time, latencies and memory, and the tables."""

from html import escape

import picture
import table
from field import OURS

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
        --ours: #c2255c; --other: #868e96; --quiet: #555b66; --edge: #8886; --lost: #b45309; }
@media (prefers-color-scheme: dark) { :root { --ours: #ff8fab; --quiet: #a9afba; --lost: #fbbf24; } }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem 2rem; }
figure { margin: 0; } figcaption { font-weight: 600; font-size: .95rem; }
svg.bars { width: 100%; height: auto; }
svg.bars text { font-size: 11px; fill: currentColor; }
svg.bars text.quiet { fill: var(--quiet); }
.bar { fill: var(--other); } .bar.ours { fill: var(--ours); } .range { stroke: currentColor; stroke-width: 1.5; }
.wide { overflow-x: auto; } .wide > svg { min-width: 50rem; width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--edge); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.lost { color: var(--lost); font-weight: 600; }
p { max-width: 75ch; color: var(--quiet); }
"""

# The groups of plots: the title, the metrics, and a word in the names of scenarios, or none.
GROUPS = [
    ("CPU time for each message", ("cpu_ns",), lambda name: "fan-out" not in name),
    ("CPU time for each delivery of a fan-out", ("cpu_ns",), lambda name: "fan-out" in name),
    ("Latency at a fixed rate", ("p50_us", "p99_us", "p999_us"), lambda name: True),
    ("Memory of an idle connection", ("bytes_each",), lambda name: True),
]

# Geometry of a plot of bars.
LABEL, WIDTH, ROW = 130, 460, 20


def html(results):
    machine, role = results["machine"], results.get("role", "server")
    title = f"ws-reactor beside other {role}s"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>",
        f"<p>{escape(machine['date'])}, {machine['cores']} cores of {escape(machine['cpu'])}, Linux "
        f"{escape(machine['kernel'])}; {escape(versions)}. All programs of a plot were measured in turns, in one run. "
        "A bar is the median of the rounds, and its line goes from the least to the greatest. Shorter is better.</p>",
        f"<p>{table.verdict(results)}.</p>",
    ]
    if any(picture.row_of(scenario) for scenario in results["scenarios"]):
        parts.append(f'<div class="wide">{picture.svg(results)}</div>')
    for heading, metrics, belongs in GROUPS:
        plots = [
            plot(scenario, metric) for scenario in results["scenarios"] if belongs(scenario["name"])
            for metric in scenario["metrics"] if metric in metrics
        ]
        plots = [one for one in plots if one]
        if plots:
            parts.append(f'<h2>{heading}</h2>\n<div class="plots">' + "\n".join(plots) + "</div>")
    parts += ["<h2>Targets</h2>", targets(results), "<h2>All figures</h2>", figures(results), "</html>\n"]
    return "\n".join(parts)


def plot(scenario, metric):
    """Bars of one metric of a scenario, the shortest first. None if nothing was measured."""
    values = {name: sorted(one.get(metric) or []) for name, one in scenario["servers"].items()}
    values = {name: rounds for name, rounds in values.items() if rounds}
    if OURS not in values or len(values) < 2:
        return None
    medians = {name: table.figure(scenario, name, metric) for name in values}
    order = sorted(medians, key=medians.get)
    # A program that is far behind does not flatten the others: its bar ends at the edge.
    most = min(max(rounds[-1] for rounds in values.values()), 8 * medians[OURS]) or 1

    def x(value):
        return min(value / most, 1) * (WIDTH - LABEL - 70)

    rows = []
    for index, name in enumerate(order):
        y, rounds, end = index * ROW + 4, values[name], x(medians[name])
        kind = "bar ours" if name == OURS else "bar"
        rows.append(
            f'<text x="{LABEL - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{max(end, 1):.1f}" height="13" rx="2"/>'
            f'<path class="range" d="M{LABEL + x(rounds[0]):.1f} {y + 6.5}H{LABEL + x(rounds[-1]):.1f}"/>'
            f'<text class="quiet" x="{LABEL + max(end, x(rounds[-1])) + 6:.1f}" y="{y + 11}">'
            f"{table.shown(metric, medians[name])}</text>")
    caption = f"{scenario['name']}, {table.UNITS[metric][0]}"
    return (f'<figure><figcaption>{escape(caption)}</figcaption><svg class="bars" role="img" '
            f'aria-label="{escape(caption)}" viewBox="0 0 {WIDTH} {len(order) * ROW + 4}">{"".join(rows)}</svg></figure>')


def targets(results):
    rows = [
        f"<tr><td>{escape(scenario['name'])}</td><td>{escape(compared)}</td>"
        f'<td{"" if met else " class=lost"}>{escape(ratio)}</td><td>{escape(target)}</td>'
        f"<td>{'met' if met else 'missed'}</td></tr>"
        for scenario in results["scenarios"] for compared, ratio, target, met in table.targets_of(scenario)
    ]
    head = "<tr><th>scenario</th><th>ours beside</th><th>median (least–greatest)</th><th>target</th><th></th></tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def figures(results):
    names = list(dict.fromkeys(name for scenario in results["scenarios"] for name in scenario["servers"]))
    rows = []
    for scenario in results["scenarios"]:
        for metric in scenario["metrics"]:
            cells = "".join(f"<td>{escape(table.cell(scenario, name, metric).strip('*'))}</td>" for name in names)
            rows.append(f"<tr><td>{escape(scenario['name'])}, {table.UNITS[metric][0]}</td>{cells}</tr>")
    head = "<tr><th></th>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'
