# SPDX-License-Identifier: Apache-2.0
"""packaging/grafana: a real Prometheus that scrapes a real gateway answers every panel's question with series."""
import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from harness import provider as behave
from harness.poll import until
from harness.ports import free_port
from test_grafana import EXPRESSIONS

SERVER = Path(__file__).parent / "harness" / "stdio_server.py"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_every_panel_has_series(start, provider, redis, tmp_path, together):
    program = {"dialect": "mcp-stdio", "command": sys.executable, "args": [str(SERVER)]}
    gateway = start({"upstreams": {"program": program}, "cache": {"redis": {"url": f"redis://127.0.0.1:{redis.port}/0"}},
                     "alerts": {"reload_failed": {"for": "0"}}})
    port, config = free_port(), tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
        {"job_name": "jitney", "static_configs": [{"targets": [f"127.0.0.1:{gateway.admin_port}"]}]}]}))

    def work(n):
        provider.next(behave.status(500))
        gateway.call("write", {"n": n})
        together(lambda i: gateway.call("cached", {"n": n}), range(4))
        gateway.batch([{"id": str(i), "tool": "echo", "arguments": {"n": i}} for i in range(5)])
        gateway.get("/v1/tools/nobody")
        gateway.request("POST", "/v1/tools/echo", b"{", {"Content-Type": "application/json"})

    def ask(expression):
        text = expression.replace("$__rate_interval", "10s").replace("$job", "jitney").replace("$instance", ".*")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": text}), timeout=10) as response:
            return json.load(response)["data"]["result"]

    gateway.config_path.write_text("nonsense: [")
    gateway.request("POST", "/admin/reload", b"{}", {"Content-Type": "application/json"}, "admin")
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data",
                                    f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        def silent():
            work(silent.n)
            silent.n += 1
            try:
                return [(title, expression) for title, expression in EXPRESSIONS if not ask(expression)]
            except OSError:
                return [("all", "")]

        silent.n = 0
        until(lambda: not silent(), "every panel has series", 60)
    except AssertionError as failure:
        raise AssertionError(f"{failure}; silent: {silent()}") from None
    finally:
        process.terminate()
        process.wait(30)
