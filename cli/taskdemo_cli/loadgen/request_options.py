"""Reads --url, --path, --header, --body and similar options into a request, before anything is sent.

Also finds the proxy that the environment names. Standard library only; the only I/O is reading the body's files.
Header values, bodies and passwords may be secret: errors never quote them, and documents never keep them.
"""

import base64
import json
import mimetypes
import re
import secrets
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_server.contract.text import shortened

Headers = Sequence[tuple[str, str]]

LARGEST_BODY: Final = 64 * 2**20
"""Bytes; each request in flight keeps the part of it that the server has not received yet."""
NUMBER: Final = "{n}"
"""Stands for the request's number in a path, a body or a message."""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_IN_A_TARGET: Final = frozenset(string.ascii_letters + string.digits + "-._~:/?[]@!$&'()*+,;=%")
_FORM: Final = "application/x-www-form-urlencoded"
_HEADER_EXAMPLE: Final = "--header 'Name: value'"
_URL_EXAMPLE: Final = "http://127.0.0.1:8000"


GET: Final = Plan(url="")
"""The simplest request, without a URL yet."""


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """The parts of a URL: `url` is scheme, host and port; `headers` carry the user and password it contained."""

    url: str
    path: str
    headers: Headers = ()


def read_request(
    method: str | None,
    headers: Sequence[str],
    body: str | None,
    form: Sequence[str] = (),
    *,
    token: str | None = None,
    more: Headers = (),
) -> Plan:
    """Return the plan, without a URL yet, of the request that these options describe; `more` are headers of --url.

    The default method is GET, or POST if there is a body. Raises UserError with what to type instead.
    """
    given = [_header(text) for text in headers]
    names = [name.lower() for name, _ in given]
    who = [
        *(["--token"] if token else []),
        *(["the user in --url"] if more else []),
        *(["--header Authorization"] * names.count("authorization")),
    ]
    if len(who) > 1:
        raise UserError(f"{who[0]} and {who[1]} both set the credentials: give one of them")
    if form and body is not None:
        raise UserError("--body and --form both set the body: give one of them")
    content, kind = _form(form) if form else (None, "") if body is None else _body(body)
    if content and "content-type" not in names:
        given.append(("Content-Type", kind))
    return Plan(
        url="",
        method=_method(method) if method is not None else "GET" if content is None else "POST",
        headers=(*given, *more),
        body=None if content is None else content.decode("latin-1"),
    )


def read_url(url: str, path: str | None, option: str = "--url") -> ParsedUrl:
    """Parse a URL and append `path` to its own path. Raises UserError with what to type instead.

    As with curl, the scheme may be left out, and a fragment (`#top`) is not sent; `:8000/x` is on this machine.
    """
    if re.match(r":\d+([/?#]|$)", url):
        url = f"127.0.0.1{url}"
    if re.match(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d+)?([/?#]|$)", url):
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        why = "" if "@" in url else f" ({error})"  # it would quote part of a password as a bad port
        raise UserError(f"{option} {_shown_url(url)} is not a URL{why}; type {option} {_URL_EXAMPLE}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise UserError(f"{option} {_shown_url(url)} is not an HTTP URL; type {option} {_URL_EXAMPLE}")
    userinfo, _, address = parts.netloc.rpartition("@")
    if not all(character.isprintable() and not character.isspace() for character in address) or port == 0:
        raise UserError(f"{option} {_shown_url(url)} has no valid host name or port; type {option} {_URL_EXAMPLE}")
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    if path is not None and parts.query:
        both = f"--url {_URL_EXAMPLE}/path?a=b"
        raise UserError(f"--url has a query, so --path cannot follow it: write both in one, {both}")
    own = a_path(target, option) or "/"
    given = a_path(path) if path else None
    whole = own if given is None else own.rstrip("/") + given
    headers: Headers = ()
    if userinfo:
        user, _, password = userinfo.partition(":")
        secret = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        headers = (("Authorization", f"Basic {secret}"),)
    return ParsedUrl(f"{parts.scheme}://{address}", whole, headers)


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment (http_proxy, no_proxy, ...) names for `url`; None for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127.") or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def read_proxy(url: str) -> ParsedUrl | None:
    """Return the proxy for `url` with its authorization headers. Raises UserError if it is not an HTTP proxy."""
    if (text := proxy_for(url)) is None:
        return None
    try:
        place = read_url(text, None)
    except UserError:
        scheme = urlsplit(url).scheme
        raise UserError(
            f"the environment's {scheme} proxy is not an HTTP proxy; "
            f"set {scheme}_proxy=http://HOST:PORT, or no_proxy={urlsplit(url).hostname}"
        ) from None
    return replace(place, headers=tuple((f"Proxy-{name}", value) for name, value in place.headers))


def a_path(text: str, option: str = "--path") -> str:
    """Validate a path, with or without a query, and add a missing leading slash; `{n}` is allowed.

    Raises UserError with what to type instead.
    """
    pieces = text.split(NUMBER)
    wrong = next((character for character in "".join(pieces) if character not in _IN_A_TARGET), None)
    if wrong is not None:
        allowed = "".join(_IN_A_TARGET)
        better = NUMBER.join(quote(piece, safe=allowed, errors="surrogateescape") for piece in pieces)
        raise UserError(
            f"{option}: {shortened(repr(wrong), 12)} is not allowed in {shortened(text, 60)}; "
            f"write it as {shortened(better, 80)}"
        )
    return text if text.startswith("/") or not text else f"/{text}"


def merged(ours: Iterable[tuple[str, str]], theirs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return `theirs`, preceded by those of `ours` whose names are not among them."""
    replaced = {name.lower() for name, _ in theirs}
    return [*((name, value) for name, value in ours if name.lower() not in replaced), *theirs]


def is_text(content: bytes) -> bool:
    """Return whether a body is UTF-8 text; only there does `{n}` stand for the number."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise UserError(f"--method {_shown(text)} is not an HTTP method; type GET, POST, PUT, PATCH, DELETE or HEAD")
    if text.upper() == "CONNECT":
        raise UserError("--method CONNECT is not supported; type another method")
    return text.upper()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip(" \t")
    if not colon:
        raise UserError(f"one --header has no colon; write it like {_HEADER_EXAMPLE}")
    if not _TOKEN.fullmatch(name):
        raise UserError(f"--header: {_shown(name)} is not a header name; write it like {_HEADER_EXAMPLE}")
    if not _VALUE.fullmatch(value):
        raise UserError(f"--header {name}: its value must be one line of visible ASCII characters, spaces and tabs")
    if name.lower() in {"content-length", "transfer-encoding"}:
        raise UserError(f"--header {name} is set from --body automatically; leave it out")
    return name, value


def _body(text: str) -> tuple[bytes, str]:
    content = _content("--body", text[1:]) if text.startswith("@") else text.encode("utf-8", "surrogateescape")
    return content, _kind(content)


def _content(option: str, name: str) -> bytes:
    try:
        with Path(name).expanduser().open("rb") as file:
            content = file.read(LARGEST_BODY + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a possible file name"
        raise UserError(
            f"{option} {_shown(f'@{name}')} cannot be read ({why}); name a file after the @, or write the text itself"
        ) from None
    if len(content) > LARGEST_BODY:
        raise UserError(f"{option} {_shown(f'@{name}')} is larger than {LARGEST_BODY // 2**20} MB; name a smaller file")
    return content


def _form(fields: Sequence[str]) -> tuple[bytes, str]:
    """Return the body of a form and its content type, as a browser sends it: multipart if any field is a file."""
    read: list[tuple[str, str, bytes | None]] = []
    for text in fields:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError("one --form value is not a field; write it like --form name=value or --form name=@FILE")
        read.append((name, value, _content("--form", value[1:]) if value.startswith("@") else None))
    if all(content is None for _, _, content in read):
        return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value, _ in read).encode(), _FORM
    boundary = f"taskdemo-{secrets.token_hex(16)}"
    body = b"".join(_part(boundary, *field) for field in read) + f"--{boundary}--\r\n".encode()
    if any(content is None and NUMBER in value for _, value, content in read) and not is_text(body):
        raise UserError("--form: {n} cannot be combined with a binary file; leave one of them out")
    return body, f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    return NUMBER.join(quote_plus(piece, errors="surrogateescape") for piece in text.split(NUMBER))


def _part(boundary: str, name: str, value: str, content: bytes | None) -> bytes:
    """Return one field as a multipart part, named as browsers do; a file goes by its name without folders."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_in_quotes(name)}"'
    if content is None:
        return f"{head}\r\n\r\n{value}\r\n".encode("utf-8", "surrogateescape")
    file = Path(value[1:]).name
    kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
    head += f'; filename="{_in_quotes(file)}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode("utf-8", "surrogateescape") + content + b"\r\n"


def _in_quotes(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _kind(content: bytes) -> str:
    if not is_text(content):
        return "application/octet-stream"
    try:  # int rejects NaN and Infinity, which are not JSON
        json.loads(content.decode().replace(NUMBER, "1"), parse_constant=int, parse_int=str)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"


def _shown(text: str) -> str:
    from taskdemo_cli.documents.environment import without_user

    return shortened(repr(without_user(text)), 80)


def _shown_url(text: str) -> str:
    """Hide everything before the last @ of an invalid URL: a password may contain any character."""
    return _shown(re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)?.*@", r"\1***@", text, flags=re.DOTALL))
