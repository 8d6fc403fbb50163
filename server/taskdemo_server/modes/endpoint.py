"""What every mode's endpoint has in common: its parameter, its answer, and what the application may ask of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import Query
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from taskdemo_server.contract.events import MESSAGE_LIMIT

Message: TypeAlias = Annotated[str, Query(max_length=MESSAGE_LIMIT, description="Handed to the task as its argument.")]


class Greeting(TypedDict):
    """The whole answer of `GET /`."""

    message: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A mode at work: the path operation function of `GET /`, and what else its engine offers or needs."""

    hello: Callable[..., Any]
    cannot_cancel: str
    """Why a task, or a task in the wrong state, cannot be cancelled here: a sentence."""
    cancel: Callable[[str], bool] | None = None
    """Cancels the task of that id, journals it, and returns True; False where it is too late."""
    start: Callable[[], Awaitable[None]] | None = None
    """Awaited before the server says that it serves."""
    stop: Callable[[], Awaitable[None]] | None = None
    """Awaited when the last request has been answered; returns when the last task has ended."""
    accepts: bool = False
    """Whether `hello` calls `work.accept` itself; the application does it before calling `hello` otherwise."""
    engine: Any = None
    """What runs the tasks, where that is an object of its own: for the laboratory, which asks it."""
