"""CPU per call as bars, in SVG, by hand: no library needed."""

import html
import pathlib

COLOURS = {"jitney": "#1f6f8b", "jitney again": "#8fb8c6", "nginx": "#c9733d", "haproxy": "#7a5c99", "raw http": "#8a8a8a",
           "free": "#8a8a8a"}
BAR, GAP, LEFT, WIDTH = 18, 26, 210, 860


def write_plot(path, results, works):
    most = max(figures["cpu_us"] for subjects in results.values() for figures in subjects.values()) or 1
    parts, y = [], 50
    for name, subjects in results.items():
        parts.append(f'<text x="10" y="{y}" class="work">{html.escape(works[name][0])}</text>')
        y += 10
        for subject, figures in subjects.items():
            width = figures["cpu_us"] / most * (WIDTH - LEFT - 90)
            parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{html.escape(subject)}</text>'
                         f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 3}" fill="{COLOURS.get(subject, "#555")}"/>'
                         f'<text x="{LEFT + width + 6:.1f}" y="{y + 13}">{figures["cpu_us"]:.1f}</text>')
            y += BAR
        y += GAP
    pathlib.Path(path).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="system-ui, sans-serif" font-size="13">'
        '<style>.work{font-weight:600}</style><rect width="100%" height="100%" fill="white"/>'
        '<text x="10" y="24" font-size="16" font-weight="600">CPU per call, microseconds (less is better)</text>'
        + "".join(parts) + "</svg>\n")
