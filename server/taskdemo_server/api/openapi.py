"""GET /openapi: the OpenAPI documents of the user's own application, and of the applications mounted in it."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, routing
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from taskdemo_server.contract.text import error_text


class Document(TypedDict):
    """The OpenAPI document of one application, generated in this process, whether or not the application serves it."""

    under: str
    """The path that the application is mounted at; empty for the outermost one."""
    document: dict[str, Any]
    error: str | None
    """Why the document, then empty, could not be generated."""
    undocumented: list[str]
    """Paths that GET can request and that the document lacks."""
    websockets: list[str]


def router(application: ASGIApp) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.get("/openapi")
    def openapi() -> list[Document]:
        return list(_documents(application, ""))

    return routes


def _documents(app: Any, under: str) -> Iterator[Document]:
    while not hasattr(app, "openapi") and hasattr(app, "app"):  # middleware around it
        app = app.app
    routes = getattr(app, "routes", ())
    if contexts := getattr(routing, "iter_route_contexts", None):
        # In newer FastAPI an included router keeps its mounts to itself; older versions drop them.
        routes = list(contexts(routes))
    document: dict[str, Any] = {}
    why = None
    if callable(make := getattr(app, "openapi", None)):
        try:
            document = make()
        except Exception as error:  # noqa: BLE001  the user's own types may raise anything
            why = error_text(error)
    own = [getattr(route, "path_format", route.path) for route in routes if _is_asked_for(route)]
    undocumented = [under + path for path in own if path not in document.get("paths", ())]
    websockets = [
        under + route.path for route in routes if isinstance(getattr(route, "original_route", route), WebSocketRoute)
    ]
    if document or why or undocumented or websockets:
        yield {
            "under": under,
            "document": document,
            "error": why,
            "undocumented": undocumented,
            "websockets": websockets,
        }
    before = getattr(app, "root_path", "")  # without it, Starlette does not find what an application mounts
    for route in routes:
        path = getattr(route, "path", None)  # A route for a host name has none, and is skipped.
        if path is not None and hasattr(route, "app") and getattr(route, "endpoint", None) is None:
            yield from _documents(route.app, under + before + path)


def _is_asked_for(route: Any) -> bool:
    """Return whether GET can request a route, and FastAPI has not added it by itself (/docs, ...)."""
    is_fastapis = getattr(getattr(route, "endpoint", None), "__module__", "") == "fastapi.applications"
    return "GET" in (getattr(route, "methods", None) or ()) and not is_fastapis
