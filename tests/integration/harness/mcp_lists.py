# SPDX-License-Identifier: Apache-2.0
"""What a gateway makes of the lists of MCP servers, for tests of that."""
import json


def upstream(server, **options):
    return {"dialect": "mcp", "endpoints": [{"url": server.url()}], **options}


def listed(gateway):
    """Tools by their names, as MCP clients see them."""
    return {entry["name"]: entry for entry in json.loads(gateway.get("/v1/tools?format=mcp").body)["tools"]}


def lists(gateway):
    """Upstreams by their names, and how their lists stand."""
    return {entry["upstream"]: entry for entry in json.loads(gateway.get("/admin/tools", "admin").body)["lists"]}
