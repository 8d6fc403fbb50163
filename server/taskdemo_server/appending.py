"""Files to which several processes append at once, and of which any thread reads any place. Standard library only.

POSIX has both, as O_APPEND and pread(2). Windows has them below what Python's `os` offers there.
"""

import os
import sys

if sys.platform == "win32":
    import _winapi
    import ctypes
    import msvcrt
    import struct
    from ctypes import wintypes
    from typing import Final

    _FILE_APPEND_DATA: Final = 4
    _SHARE_READ_WRITE: Final = 3
    _OPEN_ALWAYS: Final = 4
    _ERROR_HANDLE_EOF: Final = 38

    _read_file = ctypes.WinDLL("kernel32", use_last_error=True).ReadFile
    _read_file.argtypes = (wintypes.HANDLE, wintypes.LPVOID, wintypes.DWORD, wintypes.LPDWORD, wintypes.LPVOID)

    def open_appending(path: str) -> int:
        """Return a descriptor of the file, made if need be, that reads, and appends each write in one piece."""
        # O_APPEND would seek and then write, and two processes could meet; who may write nowhere else cannot miss.
        rights = _winapi.GENERIC_READ | _FILE_APPEND_DATA
        handle = _winapi.CreateFile(path, rights, _SHARE_READ_WRITE, 0, _OPEN_ALWAYS, 0, 0)
        return msvcrt.open_osfhandle(handle, os.O_NOINHERIT)

    def pread(file: int, size: int, offset: int) -> bytes:
        """Read up to `size` bytes from `offset` on, whatever other threads do with the descriptor meanwhile."""
        content, count = ctypes.create_string_buffer(size), wintypes.DWORD()
        place = ctypes.create_string_buffer(struct.pack("PPQP", 0, 0, offset, 0))  # an OVERLAPPED
        if not _read_file(msvcrt.get_osfhandle(file), content, size, ctypes.byref(count), place):
            number = ctypes.get_last_error()
            if number != _ERROR_HANDLE_EOF:
                raise ctypes.WinError(number)
        return content.raw[: count.value]

else:

    def open_appending(path: str) -> int:
        """Return a descriptor of the file, made if need be, that reads, and appends each write in one piece."""
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    pread = os.pread
