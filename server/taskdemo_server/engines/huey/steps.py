"""Huey in the experiments of `taskdemo limits`: every step is a task of its own, in the page's file."""

from typing import Any

from huey import chord
from huey.exceptions import TaskException

from taskdemo_server.engines.huey.page import huey
from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import Given, step


@huey.task()
def do_step(step_log: str, key: str, name: str) -> int:
    """Do a step that needs nothing."""
    return step(step_log, key, name)


@huey.task()
def follow(step_log: str, key: str, name: str, given: Given) -> int:
    """Do a step that needs the result of the one before it, or the list of theirs: Huey hands it in last."""
    return step(step_log, key, name, given)


@huey.task(retries=3, retry_delay=1)
def flaky(step_log: str, key: str) -> int:
    """Fail twice. That it is run again is asked for in the line above, and nowhere else."""
    return step(step_log, key, "flaky")


def steps(step_log: str) -> Steps:
    """Write into the file. In plain `def`s: others may write it too."""
    handles: dict[str, Any] = {}

    def track(key: str) -> None:
        handles[key] = do_step(step_log, key, "tracked")

    def retry(key: str) -> None:
        flaky(step_log, key)

    def chain(key: str) -> None:
        huey.enqueue(do_step.s(step_log, key, "first").then(follow, step_log, key, "second"))

    def group(key: str) -> None:
        parts = [do_step.s(step_log, key, f"part {number}") for number in range(3)]
        huey.enqueue(chord(parts, follow.s(step_log, key, "final")))

    def fail(key: str) -> None:
        handles[key] = do_step(step_log, key, "broken")
        do_step(step_log, key, "following")

    return Steps(track, retry, chain, group, fail, handles, _ask, clean=huey.flush)


def _ask(result: Any) -> tuple[str, str | None]:
    try:
        value = result.get(preserve=True)
    except TaskException as failed:
        return "an error", str(failed.metadata.get("error"))
    return "None" if value is None else "a result", None
