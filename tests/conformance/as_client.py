#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway as an MCP client, for the conformance suite's `client` command, which plays the server.

usage: as_client.py JITNEY PROTOCOL URL
Puts jitney in front of URL, waits for its tools and calls each by REST: with the arguments that the suite hands over, else
with some that the tool's schema allows."""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

LIMIT_SECONDS = 15
SAMPLES = {"integer": 3, "number": 1.5, "boolean": True, "array": [], "object": {}}


def fetch(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def listening(process):
    for line in process.stderr:
        print(line, end="")
        if "event=listening" in line:
            return "http://" + re.search(r'address="?([0-9.:]+)', line)[1]
    raise SystemExit("the gateway did not start")


def tools(base):
    """Its tools, once there are some."""
    limit = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < limit:
        found = json.loads(fetch(base + "/v1/tools?format=mcp")[1])["tools"]
        if found:
            return found
        time.sleep(0.02)
    return []


def sample(schema):
    properties = schema.get("properties", {})
    return {name: SAMPLES.get(properties[name].get("type"), "some text") for name in schema.get("required", properties)
            if name in properties}


def arguments_for(name, found):
    schemas = {tool["name"]: tool["inputSchema"] for tool in found}
    if name == "json_schema_echo":  # it wants to see what became of the other tool's schema
        return {"schema": schemas["json_schema_2020_12_tool"]}
    return sample(schemas[name])


def calls(found):
    given = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}").get("toolCalls")
    names = [tool["name"] for tool in found]
    if given:
        return [(call["name"], call["arguments"]) for call in given if call["name"] in names]
    return [(tool["name"], arguments_for(tool["name"], found)) for tool in found]


def main():
    jitney, protocol, url = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jitney.yaml"
        path.write_text(json.dumps({
            "listen": "127.0.0.1:0", "admin": {"listen": "off"}, "upstreams": {
                "suite": {"dialect": "mcp", "names": "plain", "protocol": protocol, "timeout": f"{LIMIT_SECONDS}s",
                          "endpoints": [{"url": url}]}}}))
        process = subprocess.Popen([jitney, "serve", "-c", path], stderr=subprocess.PIPE, text=True)
        try:
            base = listening(process)
            for name, arguments in calls(tools(base)):
                print(name, *fetch(f"{base}/v1/tools/{name}", arguments))
        finally:
            process.terminate()
            print(process.communicate(timeout=30)[1])


if __name__ == "__main__":
    main()
