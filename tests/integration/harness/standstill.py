# SPDX-License-Identifier: Apache-2.0
"""One thread of another process stands still while all others go on: stopped by ptrace, from the thread that asks for it."""
import contextlib
import ctypes
import os
from pathlib import Path

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


def ptrace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, tid, None, None) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def standing_still(pid, name):
    """The thread of that name, until the end of the block. PermissionError where nobody may."""
    tid, = [int(path.parent.name) for path in Path(f"/proc/{pid}/task").glob("*/comm") if path.read_text().strip() == name]
    ptrace(SEIZE, tid)
    try:
        ptrace(INTERRUPT, tid)
        os.waitpid(tid, WALL)
        yield
    finally:
        ptrace(DETACH, tid)
