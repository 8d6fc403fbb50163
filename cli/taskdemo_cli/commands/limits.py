"""`limits` and `worker`: run the experiments and show the matrix; run a Celery worker on this machine."""

import os
import subprocess
from collections.abc import Sequence

from taskdemo_cli import limits
from taskdemo_cli.documents.codec import json_chunks
from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.types import Skipped
from taskdemo_cli.errors import FAILED, OK
from taskdemo_cli.limits.trial import Own
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import Stopping
from taskdemo_cli.processes.tempdirs import scratch
from taskdemo_cli.reports import files as saving
from taskdemo_cli.reports.output import Output
from taskdemo_server.contract.settings import WorkerSettings, telling


def run(
    modes: Sequence[str],
    skipped: Sequence[Skipped],
    *,
    broker: str | None,
    backend: str | None,
    own: Own | None,
    as_json: bool,
    saves: Sequence[str],
    html: str | None,
) -> int:
    """Run the experiment of every mode and limit, show what was measured, and return the exit code."""
    from taskdemo_cli.reports.terminal.limits import limits_screen, print_limits

    saving.check(saves, html)
    output = Output(as_json)
    stopping = Stopping().listen()
    title = f"{len(limits.LIMITS)} experiments in each of {len(modes)} modes"
    if own is not None:
        title += f", {' and '.join(sorted(limits.OF_THE_WORK))} with {own.name}"
    with scratch() as folder, limits_screen(output.console, title, modes, limits.LIMITS) as screen:
        found = limits.run(
            modes,
            screen,
            stopping,
            folder,
            broker=broker,
            backend=backend,
            own=own,
            skipped=skipped,
            environment=environment(),
            command=command_line(),
        )
    if as_json:
        output.document(json_chunks(found))
    else:
        print_limits(output.console, found)
    saving.save_all(found, [*saves, *([html] if html else [])], output.wrote)
    output.check()
    if stopping.asked:
        return stopping.exit_code
    return FAILED if any(not one.unfit for one in found.failed or []) else OK


def work(settings: WorkerSettings) -> int:
    """Become a Celery worker until it is told to end, and return its exit code."""
    command, environment = servers.python("taskdemo_server.worker"), telling(settings.to_json())
    if os.name == "posix":
        # It takes the place of this process, so that signals are its own and nobody is left to outlive anybody.
        os.execve(command[0], command, environment)  # noqa: S606  no shell is wanted
    return subprocess.run(command, env=environment, check=False).returncode
