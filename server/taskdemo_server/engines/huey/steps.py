"""Huey in the experiments of `taskdemo limits`: every step is a separate task, in the page's file."""

from typing import Any

from huey import chord
from huey.exceptions import TaskException

from taskdemo_server.engines.huey.page import huey
from taskdemo_server.limits.base import Steps, steps_of
from taskdemo_server.limits.step import Given, step


@huey.task()
def do_step(key: str, name: str, given: Given = None) -> int:
    """Do a step. Huey passes the previous step's result, or a group's list of results, last."""
    return step(key, name, given)


@huey.task(retries=3, retry_delay=1)
def flaky(key: str) -> int:
    return step(key, "flaky")


def steps() -> Steps:
    def chain(key: str) -> None:
        huey.enqueue(do_step.s(key, "first").then(do_step, key, "second"))

    def group(key: str) -> None:
        parts = [do_step.s(key, f"part {number}") for number in range(3)]
        huey.enqueue(chord(parts, do_step.s(key, "final")))

    return steps_of(do_step, retry=flaky, chain=chain, group=group, ask=_ask, clean=huey.flush)


def _ask(result: Any) -> tuple[str, str | None]:
    try:
        value = result.get(preserve=True)
    except TaskException as failed:
        return "an error", str(failed.metadata.get("error"))
    return "None" if value is None else "a result", None
