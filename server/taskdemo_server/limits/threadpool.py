"""Mode `threadpool` in the experiments of `taskdemo limits`: steps are plain calls in a worker thread."""

from taskdemo_server.limits.base import Steps, steps_of
from taskdemo_server.limits.step import step


def steps() -> Steps:
    """Return the steps, called where the endpoint calls its work."""

    def chain(key: str) -> None:
        first = step(key, "first")
        step(key, "second", first)

    def group(key: str) -> None:
        parts = [step(key, f"part {number}") for number in range(3)]
        step(key, "final", parts)

    return steps_of(step, chain=chain, group=group)
