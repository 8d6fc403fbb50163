"""Mode `background-async` in the experiments of `taskdemo limits`: like `background`, with async functions."""

from taskdemo_server.limits.background import steps_that_add
from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import step_async


def steps() -> Steps:
    """Return the steps as async functions, which run on the event loop."""
    return steps_that_add(step_async)
