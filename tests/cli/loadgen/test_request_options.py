"""What `fire` sends: method, headers, body, path. Read up front, sent byte for byte, and shown nowhere it is secret."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

import samples
from commands import family_of, one_sentence, running, taskdemo
from talks import OK, Scripted
from taskdemo_cli.documents.environment import command_line, without_user
from taskdemo_cli.documents.run import describe_request
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.engine import Payload
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Batch, Done, Frames, Plan, Ready, Refused, Started
from taskdemo_cli.loadgen.request_options import GET, a_path, read_request, read_url
from waiting import until

SECRET = "hush-hush"


class Listener(Scripted):
    """A server that keeps the bytes of every request."""

    def __init__(self) -> None:
        super().__init__(self.talk)
        self.requests: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            self.requests.append(head + await reader.readexactly(int(length[1]) if length else 0))
            writer.write(OK)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


def sent(plan: Plan, url: str = "http://h:1", n: int = 1) -> tuple[list[str], bytes]:
    """Return the lines and the body of request `n` as it goes out."""
    head, _, body = Payload(replace(plan, url=url))(n).partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


def test_a_body_makes_it_a_post_and_says_its_length_and_kind() -> None:
    lines, body = sent(read_request(None, [], '{"name": "tée"}'), "http://h:1/a/../b/./c?x=%2e")
    assert body == '{"name": "tée"}'.encode()
    assert lines[0] == "POST /a/../b/./c?x=%2e HTTP/1.1", "as it was written"
    assert {"Content-Type: application/json", f"Content-Length: {len(body)}"} < set(lines)


def test_a_body_comes_from_a_file_whatever_is_in_it(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000 + b"{n}"
    (tmp_path / "body.bin").write_bytes(content)
    lines, body = sent(read_request("put", [], f"@{tmp_path}/body.bin"))
    assert body == content
    assert lines[0] == "PUT / HTTP/1.1"
    assert "Content-Type: application/octet-stream" in lines


def test_the_number_goes_into_a_form_and_the_length_follows_it() -> None:
    lines, body = sent(read_request(None, [], None, ["name=a b&{n}", "{n}="]), n=10)
    assert body == b"name=a+b%2610&10="
    assert {"Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"} < set(lines)


def test_a_form_with_a_file_is_an_upload(tmp_path: Path) -> None:
    (tmp_path / 'a"b.png').write_bytes(b"\x89PNG\r\n{n}")
    lines, body = sent(read_request(None, [], None, ["title=tea", f'image=@{tmp_path}/a"b.png']))
    boundary = next(line for line in lines if line.startswith("Content-Type: multipart/")).partition("boundary=")[2]
    before, title, image, after = body.split(b"--" + boundary.encode())
    assert (before, after) == (b"", b"--\r\n")
    assert title == b'\r\nContent-Disposition: form-data; name="title"\r\n\r\ntea\r\n'
    head, _, content = image.partition(b"\r\n\r\n")
    assert head == (
        b'\r\nContent-Disposition: form-data; name="image"; filename="a%22b.png"\r\nContent-Type: image/png'
    )
    assert content == b"\x89PNG\r\n{n}\r\n"


def test_headers_are_sent_as_given_instead_of_ours() -> None:
    given = ["X-Key: one", "Accept: text/plain", "x-key:  two ", "X-Empty:"]
    lines, _ = sent(read_request(None, given, None))
    assert [line for line in lines if line.lower().startswith("x-key:")] == ["X-Key: one", "x-key: two"]
    assert [line for line in lines if line.startswith("Accept:")] == ["Accept: text/plain"]
    assert {"X-Empty: ", "Host: h:1"} < set(lines)


@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
def test_every_request_of_a_plan_has_its_number_in_path_message_and_body(method: str) -> None:
    plan = Plan(url="", method=method, body="{n}" if method == "PATCH" else None, message="nr {n}/{n} & ü?#")
    for n in (1, 10):
        lines, body = sent(plan, "http://h/a{n}?again={n}&b=%20", n)
        message = f"nr%20{n}%2F{n}%20%26%20%C3%BC%3F%23"
        assert lines[0] == f"{method} /a{n}?again={n}&b=%20&message={message} HTTP/1.1"
        assert body == (b"" if method == "HEAD" else b"%d" % n)


def test_what_is_secret_is_sent_and_shown_nowhere(listener: Listener, tmp_path: Path) -> None:
    page, file = tmp_path / "page.html", tmp_path / "file.png"
    file.touch()
    url = listener.url.replace("//", f"//me:{SECRET}%40@")
    form = ("--form", f"title={SECRET}", "--form", f"image=@{file}")
    environment = {**os.environ, "TASKDEMO_FIRE_HEADER": f"X-One: Bearer {SECRET}\nX-Two: b c\n"}
    done = taskdemo("fire", "--url", f"{url}/api?x=1", *form, "--json", "--html", str(page), env=environment)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr + page.read_text()
    question, request = listener.requests
    assert question.startswith(b"GET /health ")
    assert SECRET.encode() not in question
    assert request.startswith(b"POST /api?x=1 HTTP/1.1\r\n")
    assert f"\r\nX-One: Bearer {SECRET}\r\nX-Two: b c\r\n".encode() in request
    assert b"\r\nAuthorization: Basic bWU6aHVzaC1odXNoQA==\r\n" in request
    assert b"\r\n\r\nhush-hush\r\n" in request
    document = json.loads(done.stdout)
    assert (document["url"], document["path"], document["method"]) == (listener.url, "/api?x=1", "POST")
    assert f"--form 'title=***' --form image=@{file}" in document["command"]


@pytest.mark.parametrize(
    "command",
    [
        ("fire", "--mode", "blocking", "--duration", "5", "-H", f"X-Key: {SECRET}", "--body", SECRET, "-X", "GET"),
        ("serve", "--port", "0", "--workers", "2"),
    ],
)
def test_no_other_process_has_a_secret_in_its_command_line(command: tuple[str, ...]) -> None:
    with running(*command, "--token", SECRET, anew=True) as process:

        def none_has_it() -> bool:
            # Between fork and exec a child still has its parent's command line: what leaks stays.
            with contextlib.suppress(psutil.NoSuchProcess):
                family = family_of(process.pid)
                return len(family) >= 3 and not any(SECRET in word for one in family for word in one.cmdline())
            return False

        until(none_has_it, 60)


def test_a_plan_that_no_connection_can_be_made_for_is_refused_and_the_next_one_fired(
    listener: Listener, loader: Loader, frames: Frames
) -> None:
    for plan in (Plan(url="http://127.0.0.1:1nope"), Plan(url="http://[::1")):
        loader.run(plan)
        while (frame := frames.get(timeout=60)[1]) == Ready():
            pass
        assert isinstance(frame, Refused)
        assert frame.why
    loader.run(Plan(url=listener.url, count=1))
    while not isinstance(frame := frames.get(timeout=60)[1], Done):
        assert isinstance(frame, Started | Batch)
    assert len(listener.requests) == 1


def test_a_proxy_that_is_none_ends_the_run_with_a_sentence() -> None:
    environment = {**os.environ, "http_proxy": "nonsense://\x01", "no_proxy": ""}
    done = taskdemo("fire", "--url", "http://192.0.2.1:9/", "--timeout", "30", env=environment)
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
    assert read_request(None, [], None) == GET
    assert read_request(None, [], "") == replace(GET, method="POST", body="")
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
        ("http://h/docs#/orders", None, "/docs"),
        ("http://h#top", "/x", "/x"),
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
        (":8000#top", "http://127.0.0.1:8000", "/"),
        ("localhost:8000#top", "http://localhost:8000", "/"),
    ],
)
def test_a_url_may_be_typed_without_its_scheme(typed: str, url: str, path: str) -> None:
    parsed = read_url(typed, None)
    assert (parsed.url, parsed.path) == (url, path)


def test_an_allowed_path_stays_as_it_is() -> None:
    assert a_path("/a/b?c[]=d&e=%20;f") == "/a/b?c[]=d&e=%20;f"


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
def test_the_command_that_is_kept_holds_no_secret(
    words: list[str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["taskdemo", "fire", *words])
    assert command_line() == f"taskdemo fire {shown}"


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
