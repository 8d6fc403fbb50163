"""What the routes beside the page read: one object, made once per server process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from taskdemo_server.contract.settings import Settings
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Index
from taskdemo_server.tracking import Tracking


class Refusal(TypedDict):
    """Why not."""

    detail: str


@dataclass(frozen=True, slots=True)
class State:
    """One server process, as far as its routes need it."""

    settings: Settings
    journal: Journal
    index: Index
    tracking: Tracking[Any]
    cancel: Callable[[str, str | None], bool]
    """Cancels the task of that id, and of that name in the engine; False where it cannot be."""
    has_worker: Callable[[], bool | None] | None = None
    """Asks whether a worker answers on a broker of others; takes a second or so where none does."""
