"""Mode `threadpool` in the laboratory: steps are plain calls in the worker thread of their request."""

from taskdemo_server.limits.bench import Bench, Lab
from taskdemo_server.limits.steps import step


def lab(bench: Bench) -> Lab:
    """Call every step where the endpoint calls its work."""
    notebook = bench.notebook

    def track(key: str) -> None:
        step(notebook, key, "tracked")

    def retry(key: str) -> None:
        step(notebook, key, "flaky")

    def chain(key: str) -> None:
        first = step(notebook, key, "first")
        step(notebook, key, "second", first)

    def group(key: str) -> None:
        parts = [step(notebook, key, f"part {number}") for number in range(3)]
        step(notebook, key, "final", parts)

    def fail(key: str) -> None:
        step(notebook, key, "broken")
        step(notebook, key, "following")

    return Lab(track, retry, chain, group, fail, {}, at_once=bench.settings.threads)
