"""Gives the beginning of a file back to the disk while everything after it stays where it is: a hole in a sparse file.

So an append-only file can be bounded under its writers and readers: no offset changes, and nobody need be told. Linux
and macOS can, on nearly every file system. Standard library only.
"""

import contextlib
import ctypes
import os
import struct
import sys
from typing import Final

_PUNCH_HOLE_KEEP_SIZE: Final = 3
"""Linux: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE."""
_F_PUNCHHOLE: Final = 99
_BLOCK: Final = 4096


def free(file: int, end: int) -> None:
    """Free what lies before `end`; it reads as zeros from then on. Raises OSError where that cannot be done."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.fallocate(file, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(end)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    elif sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(file, _F_PUNCHHOLE, struct.pack("IIqq", 0, 0, 0, end - end % _BLOCK))
    else:
        raise OSError("not on this system")


def data_after(file: int, offset: int) -> int:
    """Return where the first data from `offset` on is; `offset` itself where the system does not tell."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError, AttributeError):  # No data from there on, or a system without holes.
            return os.lseek(file, offset, os.SEEK_DATA)
    return offset
