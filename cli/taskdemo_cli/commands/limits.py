"""`limits`: run the experiments, and show the table."""

from collections.abc import Sequence

from taskdemo_cli import limits
from taskdemo_cli.commands.keeping import Keeping
from taskdemo_cli.documents.limits import LIMITS
from taskdemo_cli.documents.run import Skipped
from taskdemo_cli.errors import UserError
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.reports.terminal.limits import LimitsScreen


def run(
    modes: Sequence[str], skipped: Sequence[Skipped], keeping: Keeping, *, broker: str | None, backend: str | None
) -> int:
    """Run the experiment of every mode and limit, show what was measured, and return the exit code."""
    stopping = StopRequest().listen()
    where = f"mode {modes[0]}" if len(modes) == 1 else f"each of {len(modes)} modes"
    title = f"{len(LIMITS)} experiments in {where}"
    with temporary_folder() as folder, LimitsScreen(keeping.output.console, title, modes, LIMITS) as screen:
        found = limits.run(modes, screen, stopping, folder, broker=broker, backend=backend, skipped=skipped)
    if not found.modes and found.skipped and not stopping.asked:
        raise UserError(found.skipped[-1].why)
    return keeping.finish(found, stopping, failed=bool(found.failed))
