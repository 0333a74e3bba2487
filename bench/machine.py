# SPDX-License-Identifier: Apache-2.0
"""What a run was measured on, which stands at its head and in its JSON: without it no figure can be set beside another's."""

import ctypes
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess

# peer: what makes it print its version, on one stream or the other
PEERS = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "varnish": ["varnishd", "-V"]}


def versions():
    """libcurl's and libmicrohttpd's, whole: those of this machine, which the gateway is linked to."""
    curl, http = ctypes.CDLL("libcurl.so.4"), ctypes.CDLL("libmicrohttpd.so.12")
    curl.curl_version.restype = http.MHD_get_version.restype = ctypes.c_char_p
    return {"libcurl": re.match(r"libcurl/([\d.]+)", curl.curl_version().decode()).group(1),
            "libmicrohttpd": http.MHD_get_version().decode()}


def processor(cpuinfo):
    """The model's name in the text of /proc/cpuinfo; elsewhere than on a PC there is none, and the architecture must do."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    return found.group(1).strip() if found else platform.machine()


def allocator(version):
    """In what `jitney version` prints."""
    found = re.search(r"^malloc: (.+)$", version, re.M)
    return found.group(1).strip() if found else "unknown"


def peer_version(argv):
    if not shutil.which(argv[0]):
        return None
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    found = re.search(rb"\d+\.\d+(\.\d+)?", done.stdout)
    return found.group().decode() if found else "unknown"


def describe(jitney):
    version = subprocess.run([str(jitney), "version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    peers = {name: peer_version(argv) for name, argv in PEERS.items()}
    return {"processor": processor(pathlib.Path("/proc/cpuinfo").read_text()), "cores": len(os.sched_getaffinity(0)),
            "kernel": platform.release(), "jitney": version.split()[1], "libraries": {**versions(), "malloc": allocator(version)},
            "peers": {name: each for name, each in peers.items() if each}, "load_average": round(os.getloadavg()[0], 2)}


def head(machine):
    """Two lines for people. The load average is that of the minute before: what else the machine had to do."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    peers = ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
    return (f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, load average {machine['load_average']:.2f}\n"
            f"jitney {machine['jitney']}, {libraries}" + (f"; {peers}" if peers else "") + "\n")


def write_json(path, machine, figures):
    pathlib.Path(path).write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")
