# SPDX-License-Identifier: Apache-2.0
"""What the gateway held each time all was quiet: as CSV, as a plot, and how fast it rises."""
from pathlib import Path

WARM_SECONDS = 600          # so long caches, pools and the allocator's arenas may fill
SLOPE_FROM_SECONDS = 1800   # a shorter run says nothing of an hour
SLOPE_BYTES_PER_HOUR = 1 << 20
FIELDS = ("seconds", "resident_bytes", "descriptors", "threads", "calls", "mean_busy_bytes")
WIDTH, HEIGHT, LEFT, TOP = 860, 300, 80, 50


class Samples:
    def __init__(self, path):
        """path: of the CSV, or None."""
        self.path = path
        self.rows = []
        if path:
            path.write_text(",".join(FIELDS) + "\n")

    def add(self, *row):
        """One row, at once, so that a run that is broken off has left what it saw."""
        self.rows.append(dict(zip(FIELDS, row, strict=True)))
        if self.path:
            with self.path.open("a") as file:
                file.write(",".join(f"{value:.0f}" for value in row) + "\n")

    def slope(self):
        """Bytes of resident memory an hour, by least squares over all after the first ten minutes; None: too few."""
        late = [(row["seconds"], row["resident_bytes"]) for row in self.rows if row["seconds"] >= WARM_SECONDS]
        if len(late) < 10:
            return None
        middle = sum(x for x, _ in late) / len(late)
        mean = sum(y for _, y in late) / len(late)
        return 3600 * sum((x - middle) * (y - mean) for x, y in late) / sum((x - middle) ** 2 for x, _ in late)

    def complaint(self):
        """None, or why a run this long has not passed."""
        slope = self.slope()
        if not self.rows or self.rows[-1]["seconds"] < SLOPE_FROM_SECONDS or slope < SLOPE_BYTES_PER_HOUR:
            return None
        return f"resident memory rises by {slope / (1 << 20):.2f} MiB an hour"

    def plot(self):
        """Resident memory over the minutes, beside the CSV."""
        if not self.path or len(self.rows) < 2:
            return
        most = max(max(row["resident_bytes"], row["mean_busy_bytes"]) for row in self.rows) * 1.1
        last = self.rows[-1]["seconds"]

        def line(field, colour):
            points = " ".join(f"{LEFT + WIDTH * row['seconds'] / last:.1f},{TOP + HEIGHT * (1 - row[field] / most):.1f}"
                              for row in self.rows)
            return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'

        marks = "".join(f'<path d="M{LEFT} {TOP + HEIGHT * (1 - share):.1f}h{WIDTH}" stroke="#ddd"/>'
                        f'<text x="{LEFT - 8}" y="{TOP + HEIGHT * (1 - share) + 4:.1f}" text-anchor="end">{most * share / (1 << 20):.0f}</text>'
                        for share in (0, 0.25, 0.5, 0.75, 1))
        minutes = "".join(f'<text x="{LEFT + WIDTH * share:.0f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{last * share / 60:.0f}</text>'
                          for share in (0, 0.25, 0.5, 0.75, 1))
        slope = self.slope()
        said = "" if slope is None else f"; after ten minutes {slope / (1 << 20):+.2f} MiB an hour"
        Path(self.path).with_suffix(".svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" height="{TOP + HEIGHT + 50}" font-family="system-ui, '
            f'sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="24" font-weight="600">'
            f'Resident memory in MiB over minutes: at rest (dark), while busy (light){said}</text>{marks}{minutes}'
            f'{line("mean_busy_bytes", "#8fb8c6")}{line("resident_bytes", "#1f6f8b")}'
            f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 40}" text-anchor="middle">minutes</text></svg>\n')
