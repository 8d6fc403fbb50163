"""The user's own work, `--work module:function`: imported once, and called as each mode needs it.

Knows nothing of the web or of tasks. Standard library only.
"""

import asyncio
import inspect
import os
import pickle
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from taskdemo_server.contract.import_string import UnusableError, load
from taskdemo_server.contract.modes import Mode
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import shortened

OPTION: Final = "--work"
_LONG_S: Final = 1.0
"""After this many seconds, a message says that the import is still going on."""


@dataclass(frozen=True, slots=True)
class UserFunction:
    """The user's function, and how to call it."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    takes_message: bool

    def call(self, message: str) -> None:
        """Do the work where no event loop runs: a coroutine gets its own. Drops the result."""
        if self.is_async:
            asyncio.run(self._called(message))
            return
        result = self._called(message)
        if inspect.isawaitable(result):
            getattr(result, "close", lambda: None)()
            raise TypeError(f"{self.name} returned an awaitable, which is not awaited here: make it an `async def`")

    async def call_async(self, message: str) -> None:
        """Do the work on this event loop, which an ordinary function blocks until it returns."""
        if self.is_async:
            await self._called(message)
        else:
            self.call(message)

    def check_for(self, mode: Mode) -> None:
        """Raise UnusableError, with the reason, if this mode cannot run this function."""
        if self.is_async and mode.cannot_await:
            raise UnusableError(f"{self.name} is an `async def`: {mode.cannot_await}")
        if mode.runs == "process":
            try:
                pickle.dumps(self.function)
            except Exception as error:
                raise UnusableError(
                    f"{self.name} cannot be handed to another process ({shortened(str(error), 120)}); "
                    f"a `def` at the top of its module can"
                ) from error

    def _called(self, message: str) -> Any:
        return self.function(message) if self.takes_message else self.function()


def find(name: str, folder: str | None) -> UserFunction:
    """Import the function called `name`, from `folder` first. Raises UnusableError, with a sentence for the user."""
    going_on = f"Process {os.getpid()} is still importing {name.partition(':')[0]}."
    timer = threading.Timer(_LONG_S, complain, [going_on])
    timer.daemon = True
    timer.start()
    try:
        function = load(OPTION, name, folder)
    finally:
        timer.cancel()
    if not callable(function):
        raise UnusableError(
            f"{OPTION} {name}: that is {shortened(repr(function), 60)}, which cannot be called; name a function"
        )
    call = getattr(type(function), "__call__", None)  # noqa: B004  the method itself: it may be an `async def`
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in (function, call)):
        raise UnusableError(f"{OPTION} {name}: that is a generator, so calling it does nothing; name a function")
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    return UserFunction(name, function, is_async, _takes_message(name, function))


def _takes_message(name: str, function: Callable[..., Any]) -> bool:
    """Return whether to call it with the message: if it needs one argument, or has one of that name."""
    if injected := _injected(function):
        raise UnusableError(
            f"{OPTION} {name}: it gets {shortened(', '.join(injected), 80)} from FastAPI; name the function that it"
            " calls, or measure the endpoint: taskdemo fire --app APP --path PATH"
        )
    if _hides_arguments(function):
        raise UnusableError(
            f"{OPTION} {name}: a decorator hides its arguments behind *args and **kwargs; add @functools.wraps to the"
            " function that the decorator returns, or wrap it in a plain function, and name that"
        )
    takes_nothing = takes(function)
    if takes_nothing is False and not takes(function, "message"):
        raise UnusableError(
            f"{OPTION} {name}: it takes {shortened(str(inspect.signature(function)), 80)}; work takes the message as"
            f" its one argument, or none: wrap it, and name the wrapper"
        )
    # Some builtins have no signature.
    return not takes_nothing or by_place(function)[:1] == ["message"]


def _hides_arguments(function: Callable[..., Any]) -> bool:
    """Return whether a function of the user's takes anything, as what a decorator without functools.wraps returns."""
    kinds = [one.kind for one in _parameters(function)]
    return inspect.isfunction(function) and kinds == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]


def _injected(function: Callable[..., Any]) -> list[str]:
    """Return the parameters that only FastAPI has values for: dependencies, the request, fields of its body."""
    return [
        one.name
        for one in _parameters(function)
        if any(
            str(getattr(kind, "__module__", "")).startswith(("fastapi.", "starlette."))
            for kind in (one.annotation, type(one.default), *map(type, getattr(one.annotation, "__metadata__", ())))
        )
    ]


def takes(function: Callable[..., Any], *given: Any) -> bool | None:
    """Return whether a callable of the user's can be called with these arguments; None if it has no signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*given)
    except TypeError:
        return False
    return True


def by_place(function: Callable[..., Any]) -> list[str]:
    """Return the names of a callable's positional parameters; empty if it has no signature."""
    parameters = _parameters(function)
    return [one.name for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]


def _parameters(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return ()
