"""The real parts that a machine may lack: programs, the engines' libraries, their private brokers, real brokers."""

import os
import socket
from urllib.parse import urlsplit

import pytest

from taskdemo_server.contract.modes import MODES, Mode
from taskdemo_server.engines.base import PRIVATE

THERE = [
    mode
    for mode in MODES
    if mode.engine is not None and not mode.missing and PRIVATE[mode.engine.private_broker].is_there()
]
"""The engines that are installed with their private brokers."""
REAL_BROKERS = {
    "redis": "redis://127.0.0.1:6379/10",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
    "postgres": "postgresql://postgres@127.0.0.1:5432/",
}
"""Where the machine has real brokers, if it has any."""


def without(what: str) -> None:
    """Skip for want of a real part, or fail where all parts must be there."""
    if os.environ.get("TASKDEMO_REQUIRE_PARTS") == "1":
        pytest.fail(f"needs {what}, and TASKDEMO_REQUIRE_PARTS=1 says that it is there")
    pytest.skip(f"needs {what}")


def must_listen(name: str) -> None:
    """Skip the test where the machine has no such broker, or fail it where it should be."""
    port = urlsplit(REAL_BROKERS[name]).port
    try:
        socket.create_connection(("127.0.0.1", port or 0), 1).close()
    except OSError:
        without(f"a {name} at 127.0.0.1:{port}")


def needs(mode: Mode) -> pytest.MarkDecorator:
    """Skip a test where this engine or its private broker is missing."""
    return pytest.mark.skipif(mode not in THERE, reason=f"{mode.name} or its broker is missing")


def needs_library(mode: Mode) -> pytest.MarkDecorator:
    """Skip a test where this engine is missing, whatever its broker."""
    return pytest.mark.skipif(bool(mode.missing), reason=f"{mode.name} is missing")


def needs_private(broker: str) -> pytest.MarkDecorator:
    """Skip a test where this kind of private broker is missing."""
    return pytest.mark.skipif(not PRIVATE[broker].is_there(), reason=f"there is no private {broker}")
