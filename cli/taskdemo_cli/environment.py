"""What a result was measured on, and the command that gets it again: recorded in every document."""

import importlib.metadata
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "httpx", "anyio", "celery", "redis")


def environment() -> dict[str, Any]:
    """Return Python, platform, processors and package versions; nothing that names the machine or its user."""
    packages = {}
    for package in PACKAGES:
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": packages,
    }


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return the command as it was typed, without its secrets: tokens and the passwords in URLs become `***`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for at, word in enumerate(words):
        if at and words[at - 1] == "--token":
            words[at] = "***"
        elif word.startswith("--token="):
            words[at] = "--token=***"
        elif "://" in word:
            words[at] = without_password(word)
    return shlex.join(["taskdemo", *words])


def without_password(url: str) -> str:
    """Return a URL with its password as `***`, whatever stands before the scheme (`--broker=`)."""
    start = re.search(r"[a-zA-Z][a-zA-Z0-9+.-]*://", url)
    if start is None:
        return url
    option, rest = url[: start.start()], url[start.start() :]
    try:
        parts = urlsplit(rest)
    except ValueError:
        return url
    if parts.password is None:
        return url
    where = parts.netloc.rpartition("@")[2]
    return option + urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{where}"))
