# SPDX-License-Identifier: Apache-2.0
"""Another configuration for a gateway that runs."""
import json
import threading
import time

import yaml

from .gateway import merged

NOTHING = {"added": [], "removed": [], "changed": []}


def write(gateway, changes, whole=True):
    """Lay changes over the gateway's configuration, and write the file: in one piece, as a careful writer does."""
    gateway.config = merged(gateway.config, changes)
    text = yaml.safe_dump(json.loads(json.dumps(gateway.config)), sort_keys=False)
    new = gateway.config_path.with_suffix(".new")
    new.write_text(text if whole else text[:len(text) // 2])
    new.rename(gateway.config_path)


def reload(gateway):
    reply = gateway.request("POST", "/admin/reload", listener="admin")
    return reply.status, json.loads(reply.body)


def reloaded(gateway, changes):
    write(gateway, changes)
    status, told = reload(gateway)
    assert status == 200, told
    return told


def in_force(gateway):
    return json.loads(gateway.get("/admin/config", "admin").body)


def pulse(seconds, pause=0.05):
    """A reload each 50 ms, as far as the machine keeps up: the pause is between beginnings."""
    beginning = time.monotonic()
    while time.monotonic() - beginning < seconds:
        yield
        threading.Event().wait(pause)
