"""What `fire` sends: method, headers, body, path. Read up front, sent byte for byte, and shown nowhere it is secret."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

import samples
from commands import family_of, one_sentence, running, taskdemo
from conftest import until
from talks import InThread
from taskdemo_cli.documents.environment import command_line, without_user
from taskdemo_cli.documents.run import describe_request
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Batch, Done, Frames, Plan, Ready, Refused, Started
from taskdemo_cli.loadgen.request import Request, a_path, read_request, read_url

SECRET = "hush-hush"


class Listener(InThread):
    """A server that keeps the bytes of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fired(self) -> list[bytes]:
        """Return all that came, but for the question who this is."""
        return [request for request in self.requests if not request.startswith(b"GET /health ")]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            self.requests.append(head + await reader.readexactly(int(length[1]) if length else 0))
            body = b"" if head.startswith(b"HEAD ") else b"ok"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


def fire(listener: Listener, *arguments: str, **options: Any) -> tuple[Any, bytes]:
    """Fire one request; return the document and what came."""
    done = taskdemo("fire", "--url", listener.url, "--json", *arguments, **options)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    (request,) = set(listener.fired())
    return json.loads(done.stdout), request


def test_a_body_makes_it_a_post_and_says_its_length_and_kind(listener: Listener) -> None:
    document, request = fire(listener, "--body", '{"name": "tée"}', "--path", "orders?a=b")
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == '{"name": "tée"}'.encode()
    assert head.startswith(b"POST /orders?a=b HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/json" in head
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert (document["method"], document["path"]) == ("POST", "/orders?a=b")


def test_a_body_comes_from_a_file_whatever_is_in_it(listener: Listener, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "body.bin").write_bytes(content)
    document, request = fire(listener, "--body", f"@{tmp_path}/body.bin", "-X", "put", "--message", "m{n}")
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == content
    assert head.startswith(b"PUT /?message=m1 HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/octet-stream" in head
    assert f"--body @{tmp_path}/body.bin" in document["command"]


def test_the_number_goes_into_path_query_body_and_form_and_the_length_follows_it(listener: Listener) -> None:
    many = ("--count", "10", "--concurrency", "1", "--json")
    body = ("--path", "/users/{n}?again={n}", "--body", '{"id": {n}, "name": "tée {n}"}')
    form = ("--form", "name=a b&{n}", "--form", "{n}=")
    for arguments in (body, form):
        done = taskdemo("fire", "--url", listener.url, *arguments, *many)
        assert done.returncode == 0, done.stderr
    numbered, filled = listener.fired()[:10], listener.fired()[10:]
    for n, request in enumerate(numbered, 1):
        head, _, content = request.partition(b"\r\n\r\n")
        assert head.startswith(f"POST /users/{n}?again={n} HTTP/1.1\r\n".encode())
        assert b"\r\nContent-Type: application/json" in head
        assert content == f'{{"id": {n}, "name": "tée {n}"}}'.encode()
    assert filled[9].endswith(b"\r\n\r\nname=a+b%2610&10=")
    assert b"\r\nContent-Type: application/x-www-form-urlencoded" in filled[9]


def test_a_form_with_a_file_is_an_upload_and_shows_none_of_its_values(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / 'a"b.png').write_bytes(b"\x89PNG\r\n{n}")
    file = f'image=@{tmp_path}/a"b.png'
    document, request = fire(listener, "--form", f"title={SECRET[:4]}", "--form", file)
    head, _, body = request.partition(b"\r\n\r\n")
    boundary = head.partition(b"boundary=")[2].partition(b"\r\n")[0]
    before, title, image, after = body.split(b"--" + boundary)
    assert (before, after) == (b"", b"--\r\n")
    assert title == b'\r\nContent-Disposition: form-data; name="title"\r\n\r\nhush\r\n'
    head, _, content = image.partition(b"\r\n\r\n")
    assert head == (
        b'\r\nContent-Disposition: form-data; name="image"; filename="a%22b.png"\r\nContent-Type: image/png'
    )
    assert content == b"\x89PNG\r\n{n}\r\n"
    assert document["method"] == "POST"
    assert "--form 'title=***'" in document["command"]
    assert f"{tmp_path}" in document["command"]


def test_headers_are_sent_as_given_and_their_values_are_in_no_result(listener: Listener, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    document, request = fire(
        listener,
        *("-H", f"X-Key: {SECRET}", "--header", "Accept: text/plain", "-H", f"x-key:  {SECRET}-2 ", "-HX-Empty:"),
        *("--html", str(page)),
    )
    lines = request.decode().split("\r\n")
    assert [line for line in lines if line.lower().startswith("x-key:")] == [f"X-Key: {SECRET}", f"x-key: {SECRET}-2"]
    assert [line for line in lines if line.startswith("Accept:")] == ["Accept: text/plain"]
    assert "X-Empty: " in lines
    assert f"Host: {listener.url[7:]}" in lines
    assert not any(line.startswith(b"X-Key") for line in listener.requests[0].split(b"\r\n")), "nor asked who it is"
    assert "'X-Key: ***'" in document["command"]
    assert SECRET not in page.read_text()


def test_the_environment_holds_one_header_a_line(listener: Listener) -> None:
    import os

    environment = {**os.environ, "TASKDEMO_FIRE_HEADER": f"X-One: Bearer {SECRET}\nX-Two: b c\n"}
    _, request = fire(listener, env=environment)
    assert f"\r\nX-One: Bearer {SECRET}\r\nX-Two: b c\r\n".encode() in request


def test_head_has_no_body_to_wait_for_and_keeps_its_connection(listener: Listener) -> None:
    document, request = fire(listener, "-X", "HEAD", "--count", "6", "--concurrency", "2", "--timeout", "20")
    assert request.startswith(b"HEAD / HTTP/1.1\r\n")
    counts = document["summary"]["requests"]
    assert (counts["ok"], counts["failed"], counts["errors"]) == (6, 0, {})


@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
def test_every_request_of_a_plan_has_its_number_in_path_message_and_body(
    listener: Listener, loader: Loader, frames: Frames, method: str
) -> None:
    plan = Plan(
        url=f"{listener.url}/a{{n}}",
        count=2,
        concurrency=1,
        method=method,
        body="\xff{n}" if method == "PATCH" else None,
        numbered=True,
        headers=[("X-A", "1"), ("X-A", "2")],
        message="m{n}",
    )
    loader.run(plan)
    while not isinstance(frame := frames.get(timeout=60)[1], Done):
        assert not isinstance(frame, Refused), frame
        assert not any(sample[6] for sample in getattr(frame, "samples", ()))
    for n, request in enumerate(listener.requests, 1):
        assert request.startswith(f"{method} /a{n}?message=m{n} HTTP/1.1\r\n".encode())
        assert b"\r\nX-A: 1\r\nX-A: 2\r\n" in request
        assert request.endswith(b"\r\n\r\n" if method == "HEAD" else b"\r\n\r\n\xff%d" % n)


def test_no_other_process_has_a_secret_in_its_command_line() -> None:
    arguments = ("-H", f"X-Key: {SECRET}", "--body", SECRET, "-X", "GET", "--token", SECRET)
    with running("fire", "--mode", "blocking", "--duration", "5", *arguments, anew=True) as process:

        def none_has_it() -> bool:
            # Between fork and exec a child still has its parent's command line: what leaks stays.
            with contextlib.suppress(psutil.NoSuchProcess):
                family = family_of(process.pid)
                return len(family) >= 3 and not any(SECRET in word for one in family for word in one.cmdline())
            return False

        until(none_has_it, 60)


def test_a_user_in_the_url_becomes_a_header_and_the_url_is_shown_without(listener: Listener) -> None:
    url = listener.url.replace("//", f"//me:{SECRET}%40@")
    done = taskdemo("fire", "--url", f"{url}/api?x=1", "--json")
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    (request,) = listener.fired()
    assert request.startswith(b"GET /api?x=1 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Basic bWU6aHVzaC1odXNoQA==\r\n" in request
    document = json.loads(done.stdout)
    assert (document["url"], document["path"]) == (listener.url, "/api?x=1")


def test_a_plan_that_no_connection_can_be_made_for_is_refused_and_the_next_one_fired(
    listener: Listener, loader: Loader, frames: Frames
) -> None:
    for plan in (Plan(url="http://127.0.0.1:1nope"), Plan(url="http://[::1"), Plan(url=listener.url, method="\n")):
        loader.run(plan)
        while (frame := frames.get(timeout=60)[1]) == Ready():
            pass
        assert isinstance(frame, Refused)
        assert frame.why
    loader.run(Plan(url=listener.url, count=1))
    while not isinstance(frame := frames.get(timeout=60)[1], Done):
        assert isinstance(frame, Started | Batch)
    assert len(listener.fired()) == 1


@pytest.mark.parametrize("loop", ["--concurrency 2", "--rate 10"])
def test_a_connection_that_cannot_even_be_begun_ends_the_run_with_a_sentence(loop: str) -> None:
    import os

    environment = {**os.environ, "http_proxy": "nonsense://\x01", "no_proxy": ""}
    arguments = ["--url", "http://192.0.2.1:9/", "--count", "3", *loop.split(), "--timeout", "30"]
    done = taskdemo("fire", *arguments, env=environment)
    assert one_sentence(done.stderr), done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("5", "application/json"),
        ('{"a": [1, null]}', "application/json"),
        ("NaN", "text/plain; charset=utf-8"),
        ("name=tea", "text/plain; charset=utf-8"),
        ("[" * 100_000, "text/plain; charset=utf-8"),
        ("9" * 100_000, "application/json"),
        ("\udcff", "application/octet-stream"),
    ],
)
def test_the_content_type_follows_from_the_body_unless_it_is_given(body: str, kind: str) -> None:
    assert read_request(None, [], body).headers == (("Content-Type", kind),)
    given = read_request(None, ["content-TYPE: a/b"], body)
    assert given.headers == (("content-TYPE", "a/b"),)
    assert given.method == "POST"


def test_without_a_body_there_is_no_kind_and_it_is_a_get() -> None:
    assert read_request(None, [], None) == Request("GET", (), None)
    assert read_request(None, [], "") == Request("POST", (), b"")
    assert read_request("get", [], "x").method == "GET"


@pytest.mark.parametrize(
    ("url", "path", "whole"),
    [
        ("http://h", None, "/"),
        ("http://h/", None, "/"),
        ("http://h/create", None, "/create"),
        ("http://h/api/", "x", "/api/x"),
        ("http://h/api", "/x?a=b", "/api/x?a=b"),
        ("http://h?a=b", None, "/?a=b"),
        ("http://h", "?a=b", "/?a=b"),
        ("http://h", "", "/"),
        ("http://h", "/items/{n}?a={n}", "/items/{n}?a={n}"),
    ],
)
def test_a_url_is_taken_as_it_is_and_a_path_comes_after_it(url: str, path: str | None, whole: str) -> None:
    parsed = read_url(url, path)
    assert (parsed.url, parsed.path) == ("http://h", whole)


@pytest.mark.parametrize(
    ("typed", "url", "path"),
    [
        (":8000", "http://127.0.0.1:8000", "/"),
        (":8000/x?a=b", "http://127.0.0.1:8000", "/x?a=b"),
        ("localhost:8000/x", "http://localhost:8000", "/x"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", "/"),
        ("[::1]:8000/x", "http://[::1]:8000", "/x"),
        ("shop.example/x", "http://shop.example", "/x"),
    ],
)
def test_a_url_may_be_typed_without_its_scheme(typed: str, url: str, path: str) -> None:
    parsed = read_url(typed, None)
    assert (parsed.url, parsed.path) == (url, path)


def test_an_allowed_path_stays_as_it_is() -> None:
    assert a_path("/a/b?c[]=d&e=%20;f") == "/a/b?c[]=d&e=%20;f"
    with pytest.raises(UserError, match="--path"):
        a_path("a\nb")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--token", SECRET], "--token '***'"),
        ([f"--token={SECRET}"], "'--token=***'"),
        (["-H", f"A: {SECRET}"], "-H 'A: ***'"),
        ([f"-HA: {SECRET}"], "'-HA: ***'"),
        ([f"--header=A: {SECRET}"], "'--header=A: ***'"),
        (["--header", SECRET], "--header '***'"),
        (["--body", f'{{"password": "{SECRET}"}}'], "--body '***'"),
        (["--body", "@order.json"], "--body @order.json"),
        (["--url", f"http://{SECRET}@h/p"], "--url 'http://***@h/p'"),
        (["--url", f"http://a:{SECRET}@x@h/p@q"], "--url 'http://***@h/p@q'"),
        ([f"--broker=redis://:{SECRET}@h/0"], "'--broker=redis://:***@h/0'"),
        (["--broker", f"redis://me:{SECRET}/#?@h/0"], "--broker 'redis://me:***@h/0'"),
        (["--backend", f"redis://h/0?password={SECRET}"], "--backend 'redis://h/0?password=***'"),
    ],
)
def test_the_command_that_is_kept_holds_no_secret(words: list[str], shown: str) -> None:
    assert command_line(["fire", *words]) == f"taskdemo fire {shown}"


@pytest.mark.parametrize(
    "url",
    ["me:{}@127.0.0.1:8000/x", "http://me:{}/x@host/", "http://me:a/{}@host:1x", "http://me:{}@ho st/", "ftp://{}@h"],
)
def test_no_error_repeats_the_password_of_a_url(url: str) -> None:
    with pytest.raises(UserError, match=r"^--url '[a-z:/]*\*\*\*@") as raised:
        read_url(url.format(SECRET), None)
    assert SECRET not in str(raised.value)


def test_a_url_without_a_user_stays_as_it_is() -> None:
    assert without_user("http://h:8000/a@b?c=d@e") == "http://h:8000/a@b?c=d@e"


def test_a_report_says_the_method_where_it_is_not_get() -> None:
    run = samples.background_run()
    assert "GET" not in describe_request(run)
    assert describe_request(replace(run, method="POST", path="/x")) == f"{run.url}/x (POST)"
