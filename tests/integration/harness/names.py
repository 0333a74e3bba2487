# SPDX-License-Identifier: Apache-2.0
"""A name server of the test's own, and a command in whose world every name is asked of it. Needs root."""
import shutil
import socket
import struct
import subprocess
import threading

ADDRESS = "127.53.53.53"
TYPE_A, NO_ERROR, NAME_ERROR = 1, 0x8180, 0x8183


class NameServer:
    """Answers for the names in `addresses`, lists of IPv4 addresses that may change at any time; no others exist. While `silent`
    it takes questions and says nothing. `asked` counts the questions for addresses (A), by name."""

    def __init__(self, directory):
        self.addresses, self.asked, self.silent = {}, {}, False
        names = directory / "resolv.conf"
        names.write_text(f"nameserver {ADDRESS}\noptions timeout:30 attempts:1\n")
        mount = f"mount --bind {names} /etc/resolv.conf && exec \"$@\""
        self.before = [shutil.which("unshare") or "unshare", "--mount", "sh", "-c", mount, "sh"]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ADDRESS, 53))
        subprocess.run([*self.before, "true"], check=True, capture_output=True, timeout=30)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def finish(self):
        self.socket.sendto(b"", (ADDRESS, 53))      # ends the thread
        self.thread.join()
        self.socket.close()

    def serve(self):
        while True:
            question, asker = self.socket.recvfrom(600)
            if not question:
                return
            answer = self.answer(question)
            if not self.silent:
                self.socket.sendto(answer, asker)

    def answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind, = struct.unpack("!H", question[at + 1:at + 3])
        name = ".".join(labels)
        known = self.addresses.get(name)
        if kind == TYPE_A:
            self.asked[name] = self.asked.get(name, 0) + 1
        found = known if kind == TYPE_A and known else []
        head = struct.pack("!2sHHHHH", question[:2], NAME_ERROR if known is None else NO_ERROR, 1, len(found), 0, 0)
        records = [struct.pack("!HHHIH4s", 0xc00c, TYPE_A, 1, 0, 4, socket.inet_aton(each)) for each in found]
        return head + question[12:at + 5] + b"".join(records)
