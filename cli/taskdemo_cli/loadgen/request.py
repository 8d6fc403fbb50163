"""What each request of a run is, read from --url, --path, --method, --header and --body before anything is sent.

Standard library only, and no I/O but reading the body's file. What is read here may be secret: it is never repeated
in an error, and never part of a document.
"""

import base64
import json
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from taskdemo_cli.errors import UserError
from taskdemo_server.contract.text import escape, shortened

Headers = tuple[tuple[str, str], ...]

LARGEST_BODY: Final = 64 * 2**20
"""Bytes; each request in flight holds what of it the server has not taken yet."""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_IN_A_TARGET: Final = frozenset(string.ascii_letters + string.digits + "-._~:/?[]@!$&'()*+,;=%")
_HEADER_EXAMPLE: Final = "--header 'Name: value'"
_URL_EXAMPLE: Final = "--url http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, but for where it goes; `headers` are the user's, with what the body needs."""

    method: str = "GET"
    headers: Headers = ()
    body: bytes | None = None


GET: Final = Request()


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go: `url` is scheme, host and port; `headers` carry the user and password that stood in it."""

    url: str
    path: str
    headers: Headers = ()


def read_request(
    method: str | None, headers: Sequence[str], body: str | None, *, token: str | None = None, more: Headers = ()
) -> Request:
    """Read the options of one request; `more` are headers that come from elsewhere (`Place.headers`).

    Without a method it is a GET, or a POST where there is a body. Raises UserError with what to type instead.
    """
    given = [_header(text) for text in headers]
    names = [name.lower() for name, _ in given]
    who = [
        *(["--token"] if token else []),
        *(["the user in --url"] if more else []),
        *(["--header Authorization"] * names.count("authorization")),
    ]
    if len(who) > 1:
        raise UserError(f"{who[0]} and {who[1]} both say who asks: give one of them")
    content = None if body is None else _body(body)
    if content and "content-type" not in names:
        given.append(("Content-Type", _kind(content)))
    return Request(
        _method(method) if method is not None else "GET" if body is None else "POST", (*given, *more), content
    )


def read_place(url: str, path: str | None) -> Place:
    """Read a URL, and the path to add to its own. Raises UserError with what to type instead.

    Without a path the URL is taken as it is.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"--url {_shown(url)} is not a URL ({error}); type {_URL_EXAMPLE}") from None
    if parts.scheme not in {"http", "https"} or not host:
        guess = f"--url http://{escape(url)}" if re.match(r"[\w.-]+(:\d+)?(/|$)", url) else _URL_EXAMPLE
        raise UserError(f"--url {_shown(url)} is not an HTTP URL; type {guess}")
    userinfo, _, address = parts.netloc.rpartition("@")
    if not all(character.isprintable() and not character.isspace() for character in address) or port == 0:
        raise UserError(f"--url {_shown(url)} has no valid host name; type {_URL_EXAMPLE}")
    target = parts.path + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")
    if path is not None and parts.query:
        raise UserError(
            f"--url has a query, and --path would come after it: write it all in one, {_URL_EXAMPLE}/path?a=b"
        )
    own = a_path(target, "--url") or "/"
    given = a_path(path) if path else None
    whole = own if given is None else own.rstrip("/") + given
    headers: Headers = ()
    if userinfo:
        user, _, password = userinfo.partition(":")
        secret = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        headers = (("Authorization", f"Basic {secret}"),)
    return Place(f"{parts.scheme}://{address}", whole, headers)


def a_path(text: str, option: str = "--path") -> str:
    """Return a path, with a query or none, that begins with a slash. Raises UserError with what to type instead."""
    wrong = next((character for character in text if character not in _IN_A_TARGET), None)
    if wrong is not None:
        better = quote(text, safe="".join(_IN_A_TARGET), errors="surrogateescape")
        raise UserError(
            f"{option}: {shortened(repr(wrong), 12)} is not allowed in {shortened(text, 60)}; "
            f"write it as {shortened(better, 80)}"
        )
    return text if text.startswith("/") or not text else f"/{text}"


def merged(ours: Iterable[tuple[str, str]], theirs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return all headers, of ours only those that they have not replaced."""
    theirs = [(name, value) for name, value in theirs]
    replaced = {name.lower() for name, _ in theirs}
    return [*((name, value) for name, value in ours if name.lower() not in replaced), *theirs]


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise UserError(f"--method {_shown(text)} is not an HTTP method; type GET, POST, PUT, PATCH, DELETE or HEAD")
    if text.upper() == "CONNECT":
        raise UserError("--method CONNECT asks a proxy for a tunnel, which fire does not use; type another method")
    return text.upper()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip(" \t")
    if not colon:
        raise UserError(f"one of the --header has no colon; write it like {_HEADER_EXAMPLE}")
    if not _TOKEN.fullmatch(name):
        raise UserError(f"--header: {_shown(name)} is not a header name; write it like {_HEADER_EXAMPLE}")
    if not _VALUE.fullmatch(value):
        raise UserError(f"--header {name}: its value takes visible ASCII characters, spaces and tabs, on one line")
    if name.lower() in {"content-length", "transfer-encoding"}:
        raise UserError(f"--header {name}: that follows from --body by itself; leave it out")
    return name, value


def _body(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        with Path(text[1:]).expanduser().open("rb") as file:
            content = file.read(LARGEST_BODY + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no file can have that name"
        raise UserError(
            f"--body {_shown(text)} cannot be read ({why}); name a file after the @, or write the body itself"
        ) from None
    if len(content) > LARGEST_BODY:
        raise UserError(f"--body {_shown(text)} is larger than {LARGEST_BODY // 2**20} MB; name a smaller file")
    return content


def _kind(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return "application/octet-stream"
    try:
        json.loads(text, parse_constant=_refused, parse_int=str)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"


def _refused(text: str) -> object:
    raise ValueError(text)  # NaN and Infinity are Python's, and not JSON's


def _shown(text: str) -> str:
    from taskdemo_cli.documents.environment import without_password

    return shortened(repr(without_password(text)), 80)
