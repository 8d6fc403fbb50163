"""What `--app` may be: whatever `fastapi dev` takes, factories, applications of any framework; or a sentence."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from fastapi import APIRouter, FastAPI, routing
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from servers import Start, refusal
from taskdemo_server.api import openapi
from taskdemo_server.contract.app_location import Location, locate
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.user_app.application import _search, application_of

FASTAPI = FastAPI()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in (
        "main.py", "plain/api.py", "shop/__init__.py", "shop/main.py", "shop/site/__init__.py", "shop/site/web.py",
        "project/src/store/__init__.py", "project/src/store/main.py", "named/other.py", "two words/x.py",
    ):  # fmt: skip
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "named" / "pyproject.toml").write_text('[tool.fastapi]\nentrypoint = "other:site"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("text", "within", "module", "name", "root"),
    [
        ("main.py", ".", "main", None, "."),
        ("main.py:site", ".", "main", "site", "."),
        ("main", ".", "main", None, "."),
        ("main:create_app()", ".", "main", "create_app", "."),
        ("main:shop.app", ".", "main", "shop.app", "."),
        (".", ".", "main", None, "."),
        ("", ".", "main", None, "."),
        (".:site", ".", "main", "site", "."),
        ("plain", ".", "api", None, "plain"),
        (".", "plain", "api", None, "."),
        ("shop/main.py", ".", "shop.main", None, "."),
        ("shop.main:app", ".", "shop.main", "app", "."),
        ("shop/site/web.py:app", ".", "shop.site.web", "app", "."),
        ("main.py", "shop", "shop.main", None, ".."),
        ("src/store/main.py", "project", "store.main", None, "src"),
        ("store.main:app", "project", "store.main", "app", "src"),
        (".", "named", "other", "site", "."),
        (".", "shop", "shop.main", None, ".."),
        ("..", "shop/site", "shop.main", None, "../.."),
    ],
)
def test_it_is_found_where_fastapi_dev_finds_it(
    folder: Path, text: str, within: str, module: str, name: str | None, root: str
) -> None:
    here = folder / within
    found = locate(text, here)
    assert (found.module, found.name, found.folder) == (module, name, (here / root).resolve())
    assert isinstance(found, Location)


@pytest.mark.parametrize(
    ("text", "within", "sentence"),
    [
        ("missing.py", ".", "there is no file"),
        (".", "two words", "none of main.py, app.py, api.py, app/main.py, app/app.py, app/api.py is in"),
        ("a-b", ".", "it takes a file, or module:name"),
        ("main:1", ".", "after the colon it takes a Python name"),
        ("__main__:app", ".", "__main__ is taskdemo itself"),
    ],
)
def test_where_there_is_none_one_sentence_says_so(folder: Path, text: str, within: str, sentence: str) -> None:
    with pytest.raises(UnusableError, match=sentence.replace(".", r"\.")):
        locate(text, folder / within)


async def plain(scope: Any, receive: Any, send: Any) -> None: ...


async def with_settings(settings: Any, scope: Any, receive: Any, send: Any) -> None: ...


class Site:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def serve(self, scope: Any, receive: Any, send: Any) -> None: ...


class Loose:
    async def __call__(self, *given: Any) -> None: ...


def with_defaults(settings: str = "dev", debug: bool = False) -> FastAPI:
    return FASTAPI


def with_any(*given: Any, **named: Any) -> FastAPI:
    return FASTAPI


@pytest.mark.parametrize(
    "found", [plain, functools.partial(with_settings, "settings"), Site(), Site().serve, Loose(), FASTAPI, Starlette()]
)
def test_what_takes_a_scope_a_receive_and_a_send_is_an_application(found: Any) -> None:
    assert application_of(found, "x") is found


@pytest.mark.parametrize(
    "factory", [with_defaults, with_any, functools.partial(with_defaults, debug=True), lambda: FASTAPI]
)
def test_what_can_be_called_with_nothing_makes_one(factory: Callable[..., Any]) -> None:
    assert application_of(factory, "x") is FASTAPI


def test_a_class_is_called_for_its_object() -> None:
    assert isinstance(application_of(Site, "x"), Site)


def wsgi(environ: Any, start_response: Any) -> Any: ...


class Flask:
    def wsgi_app(self, environ: Any, start_response: Any) -> Any: ...

    def __call__(self, environ: Any, start_response: Any) -> Any: ...


async def by_name(*, scope: Any, receive: Any, send: Any) -> None: ...


async def asynchronous() -> FastAPI:
    return FASTAPI


def unmade() -> FastAPI:
    raise KeyError("no settings")


def serves() -> None:
    uvicorn.run(FASTAPI)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (wsgi, "it takes environ and start_response, as WSGI applications do"),
        (Flask(), "it takes environ and start_response, as WSGI applications do"),
        (by_name, "it takes scope, receive and send only by keyword"),
        (lambda settings: FASTAPI, "it takes settings; an ASGI application takes scope, receive and send"),
        (asynchronous, "that is an async function"),
        (unmade, "it failed with KeyError: 'no settings'"),
        (serves, r"it calls uvicorn.run\(\), so it does not return an application: name the one that it serves"),
        (sys.exit, "it failed with SystemExit"),
        (lambda: "text", "called, it returns something else: that is 'text'"),
        (lambda: wsgi, "called, it returns something else: it takes environ"),
        (dict, "called, it returns something else: that is {}"),
        (3, "that is 3, not an ASGI application"),
    ],
)
def test_anything_else_is_one_sentence(found: Any, sentence: str) -> None:
    with pytest.raises(UnusableError, match=sentence):
        application_of(found, "x")


@pytest.mark.skipif(not hasattr(routing, "iter_route_contexts"), reason="this FastAPI drops what a router mounts")
def test_applications_that_an_included_router_mounts_are_documented_where_they_are() -> None:
    shop, inner, outer, app = FastAPI(), APIRouter(), APIRouter(), FastAPI()
    shop.get("/orders")(lambda: None)
    app.get("/ping")(lambda: None)
    inner.mount("/shop", shop)
    outer.include_router(inner, prefix="/inner")
    app.include_router(outer, prefix="/outer")
    app.host("shop.example", shop)
    found = [(one["under"], list(one["document"]["paths"])) for one in openapi._documents(app, "")]
    assert found == [("", ["/ping"]), ("/outer/inner/shop", ["/orders"])]


def test_a_mounted_application_is_asked_below_the_root_path_of_the_other() -> None:
    shop, app = FastAPI(), FastAPI()
    shop.get("/orders")(lambda: None)
    app.root_path = "/api"
    app.mount("/shop", shop)
    assert [one["under"] for one in openapi._documents(app, "")] == ["", "/api/shop"]


def test_what_is_in_no_document_is_told() -> None:
    async def plain(request: Any) -> Any:
        return request

    app = FastAPI()
    app.get("/files/{path:path}")(lambda path: path)
    app.get("/hidden", include_in_schema=False)(lambda: None)
    app.add_route("/plain", plain)
    app.mount("/sub", Starlette(routes=[Route("/slow", plain), Route("/write", plain, methods=["POST"])]))
    app.mount("/chat", Starlette(routes=[WebSocketRoute("/room", plain)]))
    router = APIRouter()
    router.websocket("/feed")(plain)
    app.include_router(router, prefix="/live")
    found = [(one["under"], one["undocumented"], one["websockets"]) for one in openapi._documents(app, "")]
    assert found == [
        ("", ["/hidden", "/plain"], ["/live/feed"]),
        ("/sub", ["/sub/slow"], []),
        ("/chat", [], ["/chat/room"]),
    ]


def test_a_file_that_serves_itself_when_it_is_imported_is_refused_at_once(start_server: Start, folder: Path) -> None:
    (folder / "main.py").write_text("import fastapi, uvicorn\napp = fastapi.FastAPI()\nuvicorn.run(app)\n")
    said = refusal(start_server, app="main.py", folder=str(folder))
    assert 'it calls uvicorn.run(), which belongs under `if __name__ == "__main__":` (main.py:3)' in said


def test_of_a_file_that_only_starts_another_application_that_one_is_named(folder: Path) -> None:
    launcher = ModuleType("main")
    launcher.__file__ = str(folder / "main.py")
    (folder / "main.py").write_text("def main():\n    uvicorn.run(\n        app='shop.main:app', port=8000)\n")
    with pytest.raises(UnusableError, match=r"no application is in main; did you mean --app shop\.main:app\?"):
        _search("main.py", launcher)


def test_of_a_package_that_has_none_the_module_in_it_is_named(folder: Path) -> None:
    package = ModuleType("shop")
    package.__path__ = [str(folder / "shop")]
    with pytest.raises(UnusableError, match=r"no application is in shop; did you mean --app shop\.main\?"):
        _search("shop", package)
