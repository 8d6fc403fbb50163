"""`limits` and `worker`: run the experiments and show the table; run an engine's worker on this machine."""

import os
from collections.abc import Sequence
from typing import NoReturn

from taskdemo_cli import limits
from taskdemo_cli.commands.keeping import Keeping, exit_code
from taskdemo_cli.documents.run import Skipped
from taskdemo_cli.errors import UserError
from taskdemo_cli.processes import children
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.reports.output import Output
from taskdemo_server.contract.settings import WorkerSettings, telling


def run(
    modes: Sequence[str], skipped: Sequence[Skipped], keeping: Keeping, *, broker: str | None, backend: str | None
) -> int:
    """Run the experiment of every mode and limit, show what was measured, and return the exit code."""
    from taskdemo_cli.reports.terminal.limits import limits_screen

    output = Output(keeping.as_json)
    stopping = StopRequest().listen()
    title = f"{len(limits.LIMITS)} experiments in each of {len(modes)} modes"
    with temporary_folder() as folder, limits_screen(output.console, title, modes, limits.LIMITS) as screen:
        found = limits.run(modes, screen, stopping, folder, broker=broker, backend=backend, skipped=skipped)
    if not found.modes and found.skipped and not stopping.asked:
        raise UserError(found.skipped[-1].why)
    keeping.show(found, output)
    return exit_code(stopping, (), failed=bool(found.failed))


def work(settings: WorkerSettings) -> NoReturn:
    """Become an engine's worker: it takes the place of this process, so that signals are its own."""
    command = children.python("taskdemo_server.worker")
    os.execve(command[0], command, telling(settings.to_json()))  # noqa: S606  no shell is wanted
