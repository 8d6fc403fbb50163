"""The state that taskdemo's own routes read: one object per server process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from taskdemo_server.contract.events import TaskRecord
from taskdemo_server.contract.settings import Settings
from taskdemo_server.journal.index import Index
from taskdemo_server.tracking import Tracking


class Refusal(TypedDict):
    """An error; `detail` says why the request was refused."""

    detail: str


def refusal(status: int, why: str) -> dict[int | str, dict[str, Any]]:
    """Return what the documentation says of a route that may refuse a request."""
    return {status: {"model": Refusal, "description": why}}


@dataclass(frozen=True, slots=True)
class State:
    """What the routes need to know about their server process."""

    settings: Settings
    index: Index
    tracking: Tracking[Any]
    cancel: Callable[[TaskRecord], str | None]
    """Cancels a task, or returns why it cannot be cancelled."""
    slots: int | None = None
    """How many works can run at once; None if that is unknown, or if the event loop runs them all."""
    has_worker: Callable[[], bool | None] | None = None
    """Asks whether a worker answers on an external broker; takes about a second if none does."""
