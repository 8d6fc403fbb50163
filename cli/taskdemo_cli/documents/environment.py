"""When and on what a result was measured, and by which command: recorded in every document."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from typing import Any, TypedDict

from taskdemo_server.contract import text
from taskdemo_server.contract.modes import MODES

PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "httpx", "anyio")
"""Packages whose versions are recorded, besides those of the engines."""


@functools.cache
def environment() -> dict[str, Any]:
    """Return Python, platform, processors and package versions; nothing that names the machine or its user."""
    packages = {}
    of_engines = (package for mode in MODES if mode.engine for package in mode.engine.packages)
    for package in (*PACKAGES, *of_engines):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[package] = importlib.metadata.version(package)
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": packages,
    }


class Provenance(TypedDict):
    """The fields of a document that say when, on what and by which command it was measured."""

    started_at: str
    environment: dict[str, Any]
    command: str


def provenance() -> Provenance:
    """Return these fields for a document that begins now."""
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"started_at": started_at, "environment": environment(), "command": command_line()}


_BROKERS = {"--broker", "--backend"}
"""Options that take a URL whose password may break URL syntax."""
_SECRETS = {"--token", "--header", "-H", "--body", "--form"} | _BROKERS


def command_line() -> str:
    """Return the command as it was typed, without its secrets: they become `***`.

    Secrets are tokens, the values of headers and form fields, bodies that are not in a file, and the user and password
    in a URL.
    """
    words = sys.argv[1:]
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if at and words[at - 1] in _SECRETS:
            words[at] = _masked(words[at - 1], word)
        elif equals and name in _SECRETS:
            words[at] = f"{name}={_masked(name, value)}"
        elif word.startswith("-H") and len(word) > 2:
            words[at] = f"-H{_masked('-H', word[2:])}"
        elif "://" in word:
            words[at] = without_user(word)
    return shlex.join(["taskdemo", *words])


def _masked(option: str, value: str) -> str:
    if option in _BROKERS:
        return text.without_password(value)
    if option == "--body" and value.startswith("@"):
        return value
    if option == "--form":
        name, equals, given = value.partition("=")
        return value if given.startswith("@") else f"{name}=***" if equals else "***"
    name, colon, _ = value.partition(":")
    return f"{name}: ***" if colon and option in {"--header", "-H"} else "***"


def without_user(url: str) -> str:
    """Return a URL with user and password as `***`, whatever stands before the scheme (`--url=`)."""
    return re.sub(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#]*@", r"\1***@", url)
