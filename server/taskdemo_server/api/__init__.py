"""taskdemo's own routes, beside a page or, under /.taskdemo, beside the user's application; and the documentation."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from taskdemo_server.api import events, health, live, openapi, ping, tasks
from taskdemo_server.api.state import Refusal, State, refusal
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import BUILT_IN_WORKS, OWN_PATHS, VERSION

_EVERYWHERE: Final = (ping.router, health.router, tasks.router, events.router, live.router)
"""What makes the routes that stand beside a page and beside the user's own application."""
_REFUSED: Final = refusal(403, "The server is not known by that name, or the request comes from another page.")
_TOKEN_NEEDED: Final = refusal(401, "The server's token is missing or wrong.")
_OF_A_PAGE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": {"X-Task-ID": {"description": "The id of the task.", "schema": {"type": "string"}}}},
    503: {
        "model": Refusal,
        "description": "Nothing was accepted: too many unfinished tasks, or the journal or the broker takes no more.",
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    },
}
_FAILED: Final[dict[int | str, dict[str, Any]]] = {
    500: {"description": "The work has failed.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def beside(own: ASGIApp, is_own: Callable[[str], bool], application: ASGIApp) -> ASGIApp:
    """Return one ASGI application: `own` serves the paths of `is_own`, `application` all else and the lifespan."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Not `async`: returning the awaitable saves a step in every request.
        served = own if scope["type"] == "http" and is_own(scope["path"]) else application
        return served(scope, receive, send)

    return serve


def create_api_of_app(state: State, application: ASGIApp) -> tuple[FastAPI, Callable[[str], bool]]:
    """Return what serves taskdemo's own paths beside the user's own application, and the predicate of these paths."""
    api = FastAPI(openapi_url=None)
    for one in (*[make(state) for make in _EVERYWHERE], openapi.router(application)):
        api.include_router(one, prefix=OWN_PATHS)
    return api, lambda path: path.startswith(OWN_PATHS)


def create_api_of_page(state: State, page: FastAPI) -> tuple[FastAPI, Callable[[str], bool]]:
    """Return the same for a page; its documentation includes the page's own routes, which the page serves."""
    settings = state.settings
    routers = [make(state) for make in (*_EVERYWHERE, events.reports)]
    if settings.step_log is not None:
        from taskdemo_server.limits.endpoints import router

        routers.append(router(state))
    mode = MODE_BY_NAME[settings.mode]
    api = FastAPI(
        title=f"taskdemo: {mode.name}",
        description=mode.expect,
        version=VERSION,
        redoc_url=None,
        responses=_REFUSED if settings.token is None else _REFUSED | _TOKEN_NEEDED,
    )
    paths = {"docs", "openapi.json", "redoc"}
    for one in routers:
        api.include_router(one)
        paths |= {route.path.split("/")[1] for route in one.routes if isinstance(route, APIRoute)}
    may_fail = settings.work not in BUILT_IN_WORKS and not mode.answers_first
    documented = APIRouter(responses=_OF_A_PAGE | _FAILED if may_fail else _OF_A_PAGE)
    # Only the page's endpoint: what FastAPI adds to every application (/docs, /redoc, ...) is served here, or as 404.
    documented.include_router(APIRouter(routes=[route for route in page.routes if isinstance(route, APIRoute)]))
    api.include_router(documented)
    return api, lambda path: path.removeprefix("/").partition("/")[0] in paths
