"""`python -m taskdemo_server.worker`: starts an engine's own worker command for the server's tasks, on any machine.

It reads a `WorkerSettings`, and passes the broker, the work and the journal to the worker in environment variables.
It stays to guard a private worker; one that a person starts replaces this process.
"""

import os
import sys
import tempfile
from dataclasses import replace

from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import WORK, WorkerSettings, one_per_cpu, results_beside, take_argument
from taskdemo_server.contract.stderr import refuse
from taskdemo_server.contract.text import without_password
from taskdemo_server.runtime.guard import guard


def main() -> int:  # noqa: RET503  execv never returns
    """Become the worker, or guard it; return the exit code."""
    settings = WorkerSettings.from_json(take_argument(sys.argv))
    mode = MODE_BY_NAME[settings.engine]
    if mode.engine is None or mode.missing:
        return refuse(f"Engine {mode.name} is not installed: pip install 'taskdemo[{mode.missing}]'")
    from taskdemo_server.engines import base

    engine, work = mode.engine, settings.work
    broker, queue = engine.url(settings.broker), settings.queue
    if settings.private:  # Engines import from the current folder first, where the user may have a module of any name.
        work = replace(work, cwd=os.getcwd())  # noqa: PTH109  the work runs in the user's folder
        os.chdir(tempfile.gettempdir())
    else:
        work = replace(work, worker=os.getpid())
    backend = settings.backend or (None if settings.private else results_beside(settings.broker))
    base.tell_page(engine, settings.broker, backend, queue, work.longest_s)
    os.environ.update({name: value.format(broker=broker) for name, value in engine.variables.items()})
    os.environ[WORK] = work.to_json()
    os.environ["PYTHONUNBUFFERED"] = "1"
    processes = settings.processes or one_per_cpu()
    program, *words = engine.command(processes, queue)
    if program != "python":
        words = ["-m", engine.module or program, *words]
    command = [sys.executable, "-P", *words]
    if settings.private:
        return guard(command, engine.ready, times=processes if engine.ready_each else 1)
    from taskdemo_server.work.workplace import prepare

    try:
        prepare(work)
        if why := base.why_not(engine, broker):
            return refuse(why)
    except UnusableError as error:
        return refuse(str(error))
    print(
        f"The worker of engine {mode.name}: {engine.format_command(processes, queue, without_password(broker))}",
        flush=True,
    )
    if backend is None and work.server is None:
        print("No server learns how its tasks end: type --server URL, or --backend with a Redis URL.", flush=True)
    # It replaces this process, so it gets signals directly, and no parent or child is left to outlive the other.
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    sys.exit(main())
