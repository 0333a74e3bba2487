# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, spoken to by chromedriver's own protocol (WebDriver): pages as people see them. Ended by its handle."""
import json
import shutil
import subprocess
import urllib.request

from .poll import until
from .ports import free_port

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
           "--disable-component-update"]


class Browser:
    def __init__(self, directory):
        self.port = free_port()
        self.session = ""
        self.process = subprocess.Popen([DRIVER, f"--port={self.port}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.is_there, "chromedriver answers")
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"},
                  "goog:chromeOptions": {"binary": CHROMIUM, "args": [*OPTIONS, f"--user-data-dir={directory}"]}}
        self.session = "/session/" + self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def ask(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.session}{path}", data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]

    def is_there(self):
        assert self.process.poll() is None, f"chromedriver ended with {self.process.returncode}"
        try:
            return self.ask("GET", "/status")["ready"]
        except OSError:
            return False

    def open(self, url, width=1280, height=900):
        self.ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}})
        self.ask("POST", "/url", {"url": url})

    def run(self, script):
        """What a script returns that is run in the page."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def keys(self, text):
        """As typed, at whatever has the focus; \\ue004 is Tab, \\ue007 Enter, \\ue00d the space bar."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def complaints(self):
        """What the console has said."""
        return [line["message"] for line in self.ask("POST", "/se/log", {"type": "browser"}) if line["level"] in ("WARNING", "SEVERE")]

    def finish(self):
        try:
            self.ask("DELETE", "")
        except OSError:
            pass
        self.process.terminate()
        self.process.wait()
