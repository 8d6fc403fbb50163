"""Mode `threadpool` in the experiments of `taskdemo limits`: steps are plain calls in a worker thread."""

from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import step


def steps(step_log: str) -> Steps:
    """Call every step where the endpoint calls its work."""

    def track(key: str) -> None:
        step(step_log, key, "tracked")

    def retry(key: str) -> None:
        step(step_log, key, "flaky")

    def chain(key: str) -> None:
        first = step(step_log, key, "first")
        step(step_log, key, "second", first)

    def group(key: str) -> None:
        parts = [step(step_log, key, f"part {number}") for number in range(3)]
        step(step_log, key, "final", parts)

    def fail(key: str) -> None:
        step(step_log, key, "broken")
        step(step_log, key, "following")

    return Steps(track, retry, chain, group, fail, {})
