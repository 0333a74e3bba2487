# SPDX-License-Identifier: Apache-2.0
"""A terminal of the test's own: a program on a pty, and the screen that its output draws (what ncurses sends to TERM=xterm)."""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

from .poll import until

SEQUENCE = re.compile(r"\x1b\[([?>]?)([0-9;]*)([A-Za-z@`])|\x1b[()*+][0-9A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>78cDEM]")


class Screen:
    """Cells by line and column; everything that xterm's description of ncurses 6 uses, and an assertion for what is not known."""

    def __init__(self, lines, columns):
        self.resize(lines, columns)
        self.line = self.column = 0
        self.alternate = False
        self.unknown = []

    def resize(self, lines, columns):
        self.lines, self.columns = lines, columns
        self.cells = [[" "] * columns for _ in range(lines)]

    def text(self):
        return ["".join(line).rstrip() for line in self.cells]

    def write(self, text):
        """The characters; returns what is left: the begin of a sequence that is not whole yet."""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = SEQUENCE.match(text, at)
                if not match:
                    if len(text) - at < 32:
                        return text[at:]
                    self.unknown.append(text[at:at + 12])
                    at += 1
                    continue
                if match[3]:
                    self.control(match[1], [int(n) if n else 0 for n in match[2].split(";")], match[3])
                at = match.end()
            else:
                self.character(text[at])
                at += 1
        return ""

    def character(self, one):
        if one == "\r":
            self.column = 0
        elif one == "\n":
            self.line = min(self.line + 1, self.lines - 1)
        elif one == "\b":
            self.column = max(self.column - 1, 0)
        elif one == "\t":
            self.column = min((self.column // 8 + 1) * 8, self.columns - 1)
        elif one >= " ":
            if self.line < self.lines and self.column < self.columns:
                self.cells[self.line][self.column] = one
            self.last = one
            self.column += 1

    def blank(self, line, start, end):
        if line < self.lines:
            for column in range(max(start, 0), min(end, self.columns)):
                self.cells[line][column] = " "

    def control(self, private, numbers, final):
        n = numbers[0] or 1
        if private:
            if final in "hl" and 1049 in numbers and self.alternate != (final == "h"):
                self.alternate = final == "h"
                self.control("", [2], "J")      # what xterm shows instead is not kept here
        elif final in "Hf":
            self.line, self.column = n - 1, (numbers[1] or 1) - 1 if len(numbers) > 1 else 0
        elif final == "d":
            self.line = n - 1
        elif final in "G`":
            self.column = n - 1
        elif final in "AB":
            self.line += n if final == "B" else -n
        elif final in "CD":
            self.column += n if final == "C" else -n
        elif final == "J":
            for line in range(self.lines):
                if numbers[0] == 2 or (numbers[0] == 0 and line > self.line) or (numbers[0] == 1 and line < self.line):
                    self.blank(line, 0, self.columns)
            if numbers[0] != 2:
                self.control("", numbers, "K")
        elif final == "K":
            self.blank(self.line, self.column if numbers[0] == 0 else 0, self.column + 1 if numbers[0] == 1 else self.columns)
        elif final == "X":
            self.blank(self.line, self.column, self.column + n)
        elif final == "b":
            for _ in range(n):
                self.character(self.last)
        elif final == "P":
            line = self.cells[self.line]
            self.cells[self.line] = line[:self.column] + line[self.column + n:] + [" "] * n
        elif final == "@":
            line = self.cells[self.line]
            self.cells[self.line] = (line[:self.column] + [" "] * n + line[self.column:])[:self.columns]
        elif final in "LM":
            fresh = [[" "] * self.columns for _ in range(n)]
            rest = self.cells[self.line:]
            rest = (fresh + rest)[:len(rest)] if final == "L" else rest[n:] + fresh
            self.cells[self.line:] = rest[:self.lines - self.line]
        elif final not in "mrtcnlh":
            self.unknown.append((private, numbers, final))


class Terminal:
    """with Terminal(command) as terminal: terminal.type("q"); terminal.until_shows("text"). `modes` are those before it began."""

    def __init__(self, command, lines=24, columns=80, term="xterm", environment=None):
        self.master, slave = pty.openpty()
        self.screen = Screen(lines, columns)
        self.mutex = threading.Lock()
        self.slave = slave                 # kept open: what the modes are afterwards is asked of it
        self.set_size(lines, columns)
        self.modes = termios.tcgetattr(slave)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                        env={**os.environ, "TERM": term, "LC_ALL": "C.UTF-8", **(environment or {})})
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def set_size(self, lines, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self):
        left, bytes_left = "", b""
        while True:
            try:
                data = bytes_left + os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            text = data.decode("utf-8", "ignore")
            bytes_left = b"" if text.encode() == data else data[len(text.encode()):][-3:]
            with self.mutex:
                left = self.screen.write(left + text)

    def text(self):
        with self.mutex:
            return self.screen.text()

    def until_shows(self, pattern, what=None):
        """Wait until a line of the screen matches, and return the match."""
        def found():
            return next((match for match in (re.search(pattern, line) for line in self.text()) if match), None)
        try:
            return until(found, what or f"the screen shows {pattern!r}")
        except AssertionError as failure:
            raise AssertionError("{}\n{}".format(failure, "\n".join(self.text()))) from None

    def until_hides(self, pattern):
        until(lambda: not any(re.search(pattern, line) for line in self.text()), f"the screen does not show {pattern!r}")

    def type(self, keys):
        os.write(self.master, keys.encode())

    def resize(self, lines, columns):
        with self.mutex:
            self.screen.resize(lines, columns)
        self.set_size(lines, columns)      # the kernel tells the program (SIGWINCH)

    def modes_are_back(self):
        return termios.tcgetattr(self.slave) == self.modes

    def wait(self, seconds=20):
        return self.process.wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.process.stderr.close()
        os.close(self.slave)
        self.reader.join(10)
        os.close(self.master)
