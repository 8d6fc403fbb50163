"""Answers that were not successes: whether the endpoint was reached at all, and what to type to reach it."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from taskdemo_cli.documents.blocking import Answer
from taskdemo_cli.documents.run import RunDocument
from taskdemo_server.contract.sightings import Answered
from taskdemo_server.contract.text import shortened

REFUSED: Final = 0.9
"""If at least this share of the answers are refusals, they say nothing about the endpoint."""
MOSTLY_ERRORS: Final = 0.5
"""If more than this share are errors of any kind, they say nothing about it either."""
REFUSALS: Final = frozenset({*range(300, 400), 401, 403, 404, 405, 406, 411, 413, 415, 422, 426, 428, 429})
"""Statuses that a framework sends itself, before it calls the endpoint."""
ANY_KEY: Final = "-H 'NAME: KEY', with the header in which it expects its key"
ANY_LOGIN: Final = "-H 'Authorization: Bearer ...' or the header of its key, with one that it accepts"
TYPED: Final = {
    "query": "--path '{path}?{name}=...'",
    "header": "-H '{name}: ...'",
    "cookie": "-H 'Cookie: {name}=...'",
    "body": "--body @FILE, with the JSON that it expects, or --form {name}=... if it expects a form",
    "path": "--path with another value for {name}",
}
"""What to type for a parameter that FastAPI reports as missing, by its location."""
LONGEST: Final = 100


def answers_of(run: RunDocument, seen: Sequence[Answered]) -> tuple[list[Answer], bool]:
    """Return the answers by status, if not all were successes, and whether they say nothing about the endpoint."""
    counts = Counter(row.status for row in run.requests if row.status is not None)
    total = counts.total()
    if not any(map(is_error, counts)):
        return [], False
    by_status = {one.status: one for one in reversed(seen)}
    answers = [
        Answer(
            status=status,
            count=count,
            location=_from(run.url, one.location) if (one := by_status.get(status)) else None,
            detail=one.detail or None if one else None,
        )
        for status, count in counts.most_common()
    ]
    refused = sum(count for status, count in counts.items() if status in REFUSALS)
    failed = sum(count for status, count in counts.items() if is_error(status))
    return answers, refused >= REFUSED * total or (failed > MOSTLY_ERRORS * total)


def _from(url: str, location: str | None) -> str | None:
    """Return the target of a redirect, without the host if that is the server's own."""
    return None if location is None else location.removeprefix(url.rstrip("/")) or "/"


def is_error(status: int) -> bool:
    """Return whether a status is not a success."""
    return not 200 <= status < 300


def problems_in(detail: str | None) -> list[dict[str, Any]]:
    """Return FastAPI's validation errors from an answer's body; an empty list if it holds none or was cut."""
    try:
        problems = json.loads(detail or "")["detail"]
        return [one for one in problems if isinstance(one["loc"], list) and one["loc"] and isinstance(one["msg"], str)]
    except (ValueError, TypeError, KeyError):
        return []


def what_to_type(run: RunDocument, seen: Sequence[Answered], answers: Sequence[Answer]) -> str | None:
    """Return the option that would reach the endpoint; None if its answer does not show one."""
    status = answers[0].status
    one = next((answer for answer in seen if answer.status == status), None)
    if one is None:
        return None
    if one.location is not None and 300 <= status < 400:
        try:
            to = urlsplit(one.location)
        except ValueError:  # the header may hold anything
            return None
        if to.netloc not in {"", urlsplit(run.url).netloc}:
            return None
        if to.scheme == "https" and run.url.startswith("http:"):
            return "-H 'X-Forwarded-Proto: https', as a proxy with a certificate sends it"
        query = to.query or urlsplit(run.path).query
        return f"--path {shlex.quote(shortened(to.path + (f'?{query}' if query else ''), LONGEST))}"
    if status == 405 and one.allow:
        return f"--method {shortened(one.allow.split(',')[0].strip(), 20)}"
    if status in {401, 403}:
        if not one.authenticate:
            return ANY_LOGIN
        scheme = shortened(one.authenticate.partition(" ")[0], 20)
        if scheme.lower() == "apikey":  # FastAPI's scheme for a key in a header of any name, the query or a cookie
            return ANY_KEY
        return f"-H 'Authorization: {scheme} ...', with one that it accepts"
    if status == 400 and "host" in one.detail.lower():
        return "-H 'Host: NAME', with a host that it allows"
    if status == 422:
        return _missing(one)
    if status == 404 and one.detail.startswith("{") and "Not Found" not in one.detail:  # a router says just that
        return "another --path, with values that exist"
    return f"taskdemo scan --app {run.app} to see which paths there are" if status == 404 else None


def _missing(answer: Answered) -> str | None:
    for problem in problems_in(answer.detail):
        where, *names = problem["loc"]
        name = shortened(str(names[0]), 40) if names else "..."
        if typed := TYPED.get(str(where)):
            return typed.format(path=shortened(answer.path, LONGEST), name=name)
    return None
