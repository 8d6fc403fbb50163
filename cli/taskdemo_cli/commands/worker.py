"""`worker`: become an engine's worker on this machine."""

import os
from typing import NoReturn

from taskdemo_server.contract.child_process import python
from taskdemo_server.contract.settings import WorkerSettings, environment_with


def become(settings: WorkerSettings) -> NoReturn:
    """Let the worker take the place of this process, so that signals are its own."""
    command = python("taskdemo_server.worker")
    os.execve(command[0], command, environment_with(settings.to_json()))  # noqa: S606  no shell is wanted
