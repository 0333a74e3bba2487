# SPDX-License-Identifier: Apache-2.0
"""The exposition text, read."""
import re

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    def __init__(self, text):
        self.text = text
        self.samples = {}
        for line in text.splitlines():
            match = SAMPLE.match(line)
            if match:
                self.samples[match[1], frozenset(LABEL.findall(match[2] or ""))] = float(match[3])

    def sum(self, name, **labels):
        """Of all series that have these labels; the name without "jitney_"."""
        wanted = set(labels.items())
        return sum(value for (sample, have), value in self.samples.items()
                   if sample == "jitney_" + name and wanted <= have)

    def by(self, name, label):
        """Sums by the values of one label, those that are not zero."""
        sums = {}
        for (sample, have), value in self.samples.items():
            if sample == "jitney_" + name:
                word = dict(have)[label]
                sums[word] = sums.get(word, 0) + value
        return {word: value for word, value in sums.items() if value}
