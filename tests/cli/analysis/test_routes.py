"""Which routes of an OpenAPI document can be called without guessing, and with what."""

from enum import Enum
from typing import Annotated, Any

import pytest
from fastapi import Cookie, FastAPI, Header, Path, Query, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, OAuth2PasswordBearer
from hypothesis import given
from hypothesis import strategies as st

from taskdemo_cli.analysis.routes import Route, routes_of


class Kind(Enum):
    TEA = "green tea"
    CAKE = "cake"


app = FastAPI()


@app.get("/plain")
async def plain(limit: int = 10, q: str | None = None) -> None: ...


@app.get("/items/{item_id}/{kind}")
async def item(item_id: Annotated[int, Path(examples=[7, 8])], kind: Kind) -> None: ...


@app.get("/files/{name:path}")
async def file(
    name: Annotated[str, Path(openapi_examples={"one": {"value": "a b/ü"}})],
    tag: Annotated[list[str], Query(examples=[["x", "y&z"]])],
    deep: Annotated[bool, Query(examples=[True])],
) -> None: ...


@app.get("/users/{user_id}")
async def user(user_id: int, host: str) -> None: ...


@app.get("/mine")
async def mine(
    x_key: Annotated[str, Header(examples=["k"])], session: Annotated[str, Cookie(examples=["s1"])]
) -> None: ...


@app.get("/tenant")
async def tenant(x_tenant: Annotated[str, Header()]) -> None: ...


@app.get("/keys/header")
async def header_key(key: Annotated[str, Security(APIKeyHeader(name="X-API-Key"))]) -> None: ...


@app.get("/keys/cookie")
async def cookie_key(key: Annotated[str, Security(APIKeyCookie(name="sid", scheme_name="cookie"))]) -> None: ...


@app.get("/keys/query")
async def query_key(
    q: Annotated[str, Query(examples=["a"])],
    key: Annotated[str, Security(APIKeyQuery(name="key", scheme_name="query"))],
) -> None: ...


@app.get("/keys/none")
async def no_key(login: Annotated[str, Security(OAuth2PasswordBearer("token"))]) -> None: ...


@app.post("/orders")
@app.delete("/orders")
async def orders() -> None: ...


def routes(*given: str, under: str = "") -> dict[str, Route]:
    return {f"{route.method} {route.path}": route for route in routes_of(app.openapi(), under, given)}


def test_what_needs_nothing_is_called_as_it_is_and_what_is_optional_is_left_out() -> None:
    assert routes()["GET /plain"].target == "/plain"
    assert routes(under="/v1")["GET /v1/plain"].target == "/v1/plain"


def test_what_is_needed_has_the_examples_that_the_document_gives() -> None:
    found = routes()
    assert found["GET /items/{item_id}/{kind}"].target == "/items/7/green%20tea"
    assert found["GET /files/{name}"].target == "/files/a%20b%2F%C3%BC?tag=x&tag=y%26z&deep=true"
    assert found["GET /mine"].headers == (("x-key", "k"), ("Cookie", "session=s1"))


def test_what_would_have_to_be_guessed_is_not_called_and_says_what_is_missing() -> None:
    why = "it needs user_id (path) and host (query), but no example is given"
    assert routes()["GET /users/{user_id}"].skipped == why
    assert routes()["GET /tenant"].skipped == "it needs x-tenant (header), but no example is given"
    assert routes("x-tenant")["GET /tenant"] == Route("GET", "/tenant", "/tenant")


def test_an_api_key_is_given_where_the_document_says() -> None:
    found = {path: route.key for path, route in routes().items() if "/keys/" in path}
    assert found == {
        "GET /keys/header": "-H 'X-API-Key: KEY'",
        "GET /keys/cookie": "-H 'Cookie: sid=KEY'",
        "GET /keys/query": "--path '/keys/query?q=a&key=KEY'",
        "GET /keys/none": None,
    }
    assert routes("x-api-key")["GET /keys/header"].key is None, "it is given, and not accepted"


def test_what_may_write_is_never_called() -> None:
    found = routes()
    assert {name for name, route in found.items() if route.target} >= {"GET /plain", "GET /mine"}
    assert all(name.startswith("GET ") for name, route in found.items() if route.target)
    assert found["POST /orders"].skipped == "POST may write"
    assert found["DELETE /orders"].skipped == "DELETE may write"


def one(parameter: Any, **document: Any) -> Route:
    return next(routes_of({"paths": {"/a/{x}": {"get": {"parameters": [parameter]}}}, **document}))


@pytest.mark.parametrize(
    ("parameter", "target"),
    [
        ({"example": 0}, "/a/0"),
        ({"examples": {"one": {"$ref": "#/components/examples/e"}}}, "/a/e"),
        ({"schema": {"default": "d"}}, "/a/d"),
        ({"schema": {"const": False}}, "/a/false"),
        ({"schema": {"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/s"}]}}, "/a/s"),
        ({"schema": {"allOf": [{"enum": [1.5, 2]}]}}, "/a/1.5"),
    ],
)
def test_an_example_is_found_wherever_the_specification_allows_it(parameter: dict[str, Any], target: str) -> None:
    components = {"examples": {"e": {"value": "e"}}, "schemas": {"s": {"examples": ["s"]}}}
    assert one({"name": "x", "in": "path", **parameter}, components=components).target == target


@pytest.mark.parametrize(
    "parameter",
    [
        {"example": ""},
        {"example": None},
        {"example": ["a"]},
        {"example": {"a": 1}},
        {"schema": {"$ref": "#/components/schemas/round"}},
        {"schema": {"$ref": "http://elsewhere/"}},
        {"schema": {"anyOf": [{"$ref": "#/components/schemas/round"}]}},
    ],
)
def test_what_cannot_be_written_into_a_path_is_no_example(parameter: dict[str, Any]) -> None:
    components = {"schemas": {"round": {"$ref": "#/components/schemas/round"}}}
    assert one({"name": "x", "in": "path", **parameter}, components=components).skipped


@pytest.mark.parametrize(
    ("place", "name", "example"),
    [
        ("header", "x-name", "Jürgen"),
        ("cookie", "name", "日本"),
        ("header", "x name", "a"),
        ("header", "Content-Length", 5),
        ("header", "transfer-encoding", "chunked"),
    ],
)
def test_what_cannot_be_sent_as_a_header_is_no_example(place: str, name: str, example: Any) -> None:
    needed = {"in": place, "name": name, "required": True, "example": example}
    (route,) = routes_of({"paths": {"/a": {"get": {"parameters": [needed]}}}})
    assert route.skipped == f"it needs {name} ({place}), but no example is given"


def test_a_header_that_every_request_has_needs_no_example() -> None:
    needed = [{"in": "header", "name": name, "required": True} for name in ("Host", "accept", "user-agent")]
    (route,) = routes_of({"paths": {"/a": {"get": {"parameters": needed}}}})
    assert route == Route("GET", "/a", "/a")


def test_a_parameter_of_the_path_that_the_document_does_not_describe_is_missing() -> None:
    (route,) = routes_of({"paths": {"/b/{y}/{y}": {"get": {}}}})
    assert route.skipped == "it needs y (path), but no example is given"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["get", "post", "parameters", "name", "in", "schema", "required", "$ref", "anyOf", "/x{y}"]
            ),
            inner | st.sampled_from(["path", "query", "header", "cookie", "#/paths"]),
            max_size=5,
        )
    ),
)


@given(paths=st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_whatever_a_document_holds_its_routes_are_called_or_say_why_not(paths: dict[str, Any]) -> None:
    for route in routes_of({"paths": paths}):
        assert (route.skipped is None) == (route.method == "GET" and route.target.isascii() and route.target != "")
