"""The comparison as an SVG picture: a row per scenario, a dot per program; the further right, the higher the cost."""

import math
from html import escape

from field import CANARY, OURS
from table import figure

LEFT, WIDTH, ROW, TOP, BOTTOM = 300, 620, 24, 76, 64
MINIMUM, MAXIMUM = 0.5, 64.0  # of the axis, as multiples of our cost
COLOURS = {
    OURS: "#d6336c", CANARY: "#868e96", "uWebSockets": "#1c7ed6", "fastwebsockets": "#2f9e44",
    "tokio-tungstenite": "#f08c00", "sockudo-ws": "#9c36b5", "wtx": "#0c8599", "ws-rs": "#5c940d", "Node ws": "#495057",
    "em-websocket": "#c92a2a", "nginx": "#087f5b", "hyper": "#e8590c", "Node http": "#364fc7", "nexus-web": "#1c7ed6",
    "BlockingSocket": "#f06595", "with aws-lc-rs": "#faa2c1", "boomnet": "#0c8599", "tungstenite": "#9c36b5",
    "yawc": "#5c940d",
}
OTHER = "#343a40"


def svg(results):
    rows = [row for row in map(row_of, results["scenarios"]) if row]
    names = list(dict.fromkeys(name for _, costs in rows for name in costs))
    height = TOP + ROW * len(rows) + BOTTOM
    total = LEFT + WIDTH + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{total}" height="{height}" fill="white"/>',
        '<text x="16" y="22" font-size="15" font-weight="bold">'
        f'{results.get("role", "server").title()} CPU for each message, as a multiple of ws-reactor’s</text>',
    ]
    parts += legend(names)
    for multiple in (0.5, 1, 2, 4, 8, 16, 32, 64):
        x = x_of(multiple)
        colour, end = "#d6336c" if multiple == 1 else "#dee2e6", height - BOTTOM
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{end}" stroke="{colour}"/>')
        parts.append(f'<text x="{x:.1f}" y="{end + 16}" text-anchor="middle" fill="#495057">{multiple:g} ×</text>')
    for index, (name, costs) in enumerate(rows):
        y = TOP + ROW * index + ROW / 2
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#f1f3f5"/>')
        for server, cost in sorted(costs.items(), key=lambda pair: pair[0] == OURS):
            multiple = cost / costs[OURS]
            radius, colour = 6 if server == OURS else 5, COLOURS.get(server, OTHER)
            title = f"<title>{escape(server)}: {multiple:.2f} ×</title>"
            parts.append(f'<circle cx="{x_of(multiple):.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" '
                         f'fill-opacity="0.85">{title}</circle>')
    machine = results["machine"]
    caption = f'{escape(machine["cpu"])}, Linux {machine["kernel"]}, {machine["date"]}'
    caption += f'; one core for the {results.get("role", "server")}; beyond 64 × at the edge'
    parts.append(f'<text x="16" y="{height - 16}" fill="#495057">{caption}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def row_of(scenario):
    """The name of a scenario and the cost of a message per server. None if the scenario does not measure CPU time."""
    if scenario["metrics"][0] != "cpu_ns":
        return None
    costs = {server: figure(scenario, server, "cpu_ns") for server in scenario["servers"]}
    costs = {server: cost for server, cost in costs.items() if cost}
    return (scenario["name"], costs) if OURS in costs else None


def legend(names):
    parts, x = [], 16
    for name in names:
        parts.append(f'<circle cx="{x + 5:.0f}" cy="44" r="5" fill="{COLOURS.get(name, OTHER)}"/>'
                     f'<text x="{x + 14:.0f}" y="48">{escape(name)}</text>')
        x += 28 + 6.2 * len(name)
    return parts


def x_of(multiple):
    """The x coordinate of a multiple."""
    fraction = math.log(min(max(multiple, MINIMUM), MAXIMUM) / MINIMUM) / math.log(MAXIMUM / MINIMUM)
    return LEFT + WIDTH * fraction
