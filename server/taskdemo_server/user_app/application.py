"""Finds the user's own ASGI application as `fastapi dev` does, or calls the factory that it finds.

Unlike `fastapi dev`, it accepts applications of any framework, factories, and a `src` folder.
"""

import contextlib
import inspect
import linecache
import logging.config
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from taskdemo_server.contract import import_string
from taskdemo_server.contract.app_location import DEFAULT_FILES, OPTION, locate
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.text import error_text, shortened
from taskdemo_server.runtime.console import LOGGING
from taskdemo_server.work import task_output
from taskdemo_server.work.user_function import by_place, takes

FIRST_NAMES: Final = ("app", "api", "application", "asgi")
_OF_ASGI: Final = ("scope", "receive", "send")
_SERVED: Final = re.compile(r"""uvicorn\.run\(\s*(?:app\s*=\s*)?["']([\w.]+:\w+)""")
"""In a file that only starts another module's application: what it passes to uvicorn."""


def find_application(text: str, folder: str | None) -> ASGIApp:
    """Import the application that `text` names, or call the factory that it names; paths are relative to `folder`.

    From then on, the output of its requests is told apart. Raises UnusableError, which says what was found instead.
    """
    task_output.tell_apart()
    logging.config.dictConfig(LOGGING)
    location = locate(text, Path(folder or ".").resolve())
    with _uvicorn_refused('which belongs under `if __name__ == "__main__":`'):
        module = import_string.load_module(OPTION, text, location.module, location.name or "app", str(location.folder))
    there = getattr(module, "__file__", None)
    if location.file is not None and (there is None or not location.file.samefile(there)):
        # The name of its module was taken, and the import has returned the other module.
        raise UnusableError(
            f"{OPTION} {text}: there is another module named {location.module}; rename {location.file.name}"
        )
    if location.name is not None:
        found = import_string.attribute(OPTION, text, module, location.name, str(location.folder))
        return application_of(found, text)
    name, found = _search(text, module)
    return application_of(found, f"{text} ({name})")


@contextlib.contextmanager
def _uvicorn_refused(why: str) -> Iterator[None]:
    """Let `uvicorn.run` raise an exception meanwhile: what calls it would serve by itself, and never return."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise RuntimeError(f"it calls uvicorn.run(), {why}")

    serve, uvicorn.run = uvicorn.run, refuse
    try:
        yield
    finally:
        uvicorn.run = serve


def application_of(found: Any, text: str) -> ASGIApp:
    """Return the ASGI application that `found` is, or returns when called. Raises UnusableError if it is neither."""
    if not callable(found):
        raise UnusableError(f"{OPTION} {text}: that is {shortened(repr(found), 60)}, not an ASGI application")
    if _is_asgi(found):
        application: ASGIApp = found
        return application
    if takes(found) is False:
        raise UnusableError(f"{OPTION} {text}: {_what_it_is(found)}")
    try:
        with _uvicorn_refused("so it does not return an application: name the one that it serves"):
            made = found()
    except (Exception, SystemExit) as error:
        raise UnusableError(f"{OPTION} {text}: it failed with {shortened(error_text(error), 200)}") from error
    if inspect.iscoroutine(made):
        made.close()
        raise UnusableError(f"{OPTION} {text}: that is an async function; name an ASGI application, or what makes one")
    if not callable(made) or not _is_asgi(made):
        what = _what_it_is(made) if callable(made) else f"that is {shortened(repr(made), 60)}, not an ASGI application"
        raise UnusableError(f"{OPTION} {text}: called, it returns something else: {what}")
    return made  # type: ignore[no-any-return]  # as far as its signature tells


def _search(text: str, module: ModuleType) -> tuple[str, Any]:
    """Return the name and the application in a module when no name was given: FastAPI's first, then any kind."""
    names = dict.fromkeys([*(name for name in FIRST_NAMES if hasattr(module, name)), *dir(module)])
    there = ((name, getattr(module, name)) for name in names if not name.startswith("_"))
    candidates = [(name, found) for name, found in there if not inspect.ismodule(found)]
    for is_one in (lambda found: isinstance(found, Starlette), _looks_like_asgi):
        for name, found in candidates:
            if is_one(found):
                return name, found
    for name, found in candidates:  # so that the error says what it is instead
        if name in FIRST_NAMES:
            return name, found
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    inside = next((file for file in DEFAULT_FILES for folder in folders if (folder / file).is_file()), None)
    nothing = f"{OPTION} {text}: no application is in {module.__name__}"
    if inside is not None:
        within = inside.removesuffix(".py").replace("/", ".")
        raise UnusableError(f"{nothing}; did you mean {OPTION} {module.__name__}.{within}?")
    source = "".join(linecache.getlines(getattr(module, "__file__", None) or ""))
    if served := _SERVED.search(source):
        raise UnusableError(f"{nothing}; did you mean {OPTION} {served[1]}?")
    raise UnusableError(f"{nothing}; name it, or what makes it: {OPTION} {text.rstrip(':')}:name")


def _looks_like_asgi(found: object) -> bool:
    """Return whether this is a callable, but no class, whose last parameters are scope, receive and send."""
    return callable(found) and not inspect.isclass(found) and tuple(by_place(found)[-3:]) == _OF_ASGI


def _is_asgi(found: Callable[..., object]) -> bool:
    """Return whether it accepts scope, receive and send as positional arguments, and needs them."""
    if inspect.isclass(found):
        return False
    takes_these = takes(found, *_OF_ASGI)
    if not takes_these:
        return takes_these is None  # Without a signature, only its first request can tell.
    called = found if inspect.isroutine(found) else type(found).__call__
    return _looks_like_asgi(found) or not takes(found) or inspect.iscoroutinefunction(called)


def _what_it_is(found: Callable[..., object]) -> str:
    """Return why something is neither an ASGI application nor a factory, and what to do instead."""
    names = by_place(found)
    if hasattr(found, "wsgi_app") or names[:2] == ["environ", "start_response"]:
        return "it takes environ and start_response, as WSGI applications do; wrap it (a2wsgi), or name an ASGI one"
    needed = [
        one.name
        for one in inspect.signature(found).parameters.values()
        if one.default is one.empty and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
    ]
    if set(needed) == set(_OF_ASGI):
        return "it takes scope, receive and send only by keyword, but servers pass them by position"
    return (
        f"it takes {' and '.join(needed) or 'nothing'}; an ASGI application takes scope, receive and send,"
        " and what makes one is called with nothing"
    )
