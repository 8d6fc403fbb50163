"""The user's own ASGI application: found under the name that was given, or made by what is found there."""

import inspect
import logging.config
from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp

from taskdemo_server.contract.import_string import UnusableError, load
from taskdemo_server.contract.text import error_text, shortened
from taskdemo_server.runtime.server import LOGGING
from taskdemo_server.work import task_output

OPTION: Final = "--app"
_OF_WSGI: Final = 2
"""Parameters of a WSGI application: environ and start_response. ASGI has scope, receive and send."""
_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def find_application(name: str, folder: str | None) -> ASGIApp:
    """Import the application that `module:name` names, or what a function of that name makes; from `folder` first.

    What its requests print is told apart from then on. Raises UnusableError, with what it is instead.
    """
    task_output.tell_apart()
    logging.config.dictConfig(LOGGING)
    found = load(OPTION, name, folder)
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        found = _made_by(found, name)
    if not callable(found):
        raise UnusableError(f"{OPTION} {name}: that is {shortened(repr(found), 60)}, and no ASGI application")
    names = _parameters(found)
    if len(names) == _OF_WSGI:
        raise UnusableError(
            f"{OPTION} {name}: it takes {' and '.join(names)}, as WSGI applications do;"
            " name an ASGI application, or wrap it (a2wsgi)"
        )
    application: ASGIApp = found
    return application


def _made_by(factory: Callable[[], Any], name: str) -> Any:
    try:
        made = factory()
    except Exception as error:
        raise UnusableError(f"{OPTION} {name}: it failed with {shortened(error_text(error), 200)}") from error
    if inspect.iscoroutine(made):
        made.close()
        raise UnusableError(f"{OPTION} {name}: that is an async function; name an ASGI application, or what makes one")
    return made


def _parameters(found: Callable[..., object]) -> list[str]:
    """Return what a callable is given by place; nothing where it does not say."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in parameters if one.kind in _BY_PLACE]
