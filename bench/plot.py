# SPDX-License-Identifier: Apache-2.0
"""CPU per call as bars, and figures over the load as lines, in SVG, by hand: no library needed."""

import html
import math
import pathlib

COLOURS = {"jitney": "#1f6f8b", "jitney again": "#8fb8c6", "nginx": "#c9733d", "haproxy": "#7a5c99", "raw http": "#8a8a8a", "raw curl": "#8a8a8a",
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


# ---- panels side by side over the load, which is drawn by its logarithm ----

PANEL_WIDTH, PANEL_HEIGHT, TOP, PANEL_LEFT, PANEL_GAP, LEGEND_WIDTH = 340, 260, 60, 70, 100, 170


class Panel:
    """One figure over the load: value(point) is drawn between the first and the last of marks, by its logarithm or not."""

    def __init__(self, title, value, marks, logarithmic):
        self.title, self.value, self.marks = title, value, marks
        self.scale = math.log if logarithmic else float

    def y_of(self, value):
        low, high = self.scale(self.marks[0]), self.scale(self.marks[-1])
        inside = min(max(value, self.marks[0]), self.marks[-1])
        return TOP + PANEL_HEIGHT * (1 - (self.scale(inside) - low) / (high - low))

    def draw(self, left, rates, series):
        def x_of(rate):
            return left + PANEL_WIDTH * math.log(rate / rates[0]) / math.log(rates[-1] / rates[0])

        parts = [f'<text x="{left}" y="{TOP - 18}" font-weight="600">{html.escape(self.title)}</text>']
        for mark in self.marks:
            parts.append(f'<path d="M{left} {self.y_of(mark):.1f}h{PANEL_WIDTH}" stroke="#ddd"/>'
                         f'<text x="{left - 6}" y="{self.y_of(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>')
        for rate in rates:
            parts.append(f'<text x="{x_of(rate):.1f}" y="{TOP + PANEL_HEIGHT + 18}" text-anchor="middle" font-size="11">{rate:,}</text>')
        parts.append(f'<text x="{left + PANEL_WIDTH / 2}" y="{TOP + PANEL_HEIGHT + 38}" text-anchor="middle">calls a second</text>')
        for colour, points in series.values():
            line = " ".join(f"{x_of(point['rate']):.1f},{self.y_of(self.value(point)):.1f}" for point in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        return "".join(parts)


def write_panels(path, panels, rates, series):
    """rates: the marks below, the first and the last of which bound the panels. series: name -> (colour, points); a point has "rate" and
    what the panels' values look for."""
    width = PANEL_LEFT + len(panels) * (PANEL_WIDTH + PANEL_GAP) - PANEL_GAP + 30
    columns = max((width - PANEL_LEFT) // LEGEND_WIDTH, 1)
    legend = "".join(f'<path d="M{PANEL_LEFT + i % columns * LEGEND_WIDTH} {396 + i // columns * 18}h24" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{PANEL_LEFT + i % columns * LEGEND_WIDTH + 30}" y="{400 + i // columns * 18}">{html.escape(name)}</text>'
                     for i, (name, (colour, _)) in enumerate(series.items()))
    height = 420 + (len(series) - 1) // columns * 18
    drawn = "".join(panel.draw(PANEL_LEFT + i * (PANEL_WIDTH + PANEL_GAP), rates, series) for i, panel in enumerate(panels))
    pathlib.Path(path).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="system-ui, sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="white"/>{drawn}{legend}</svg>\n')
