"""What `fire --app` says of each small application is what the table of docs/own-app.md says."""

import json
import re
import shlex
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands import one_sentence, taskdemo
from conftest import without

TESTS = Path(__file__).resolve().parents[1]
APPS = TESTS / "apps"
TABLE = TESTS.parent / "docs" / "own-app.md"
BESIDE_EACH_OTHER = 3
"""Most of the time is waiting: for servers to start, and for what the applications wait for."""
AGAIN = 3
"""A machine that is busy with others may hold up a bystander, whatever the application does: then it says so."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    app: str
    options: list[str]
    cause: str
    words: list[str]

    @property
    def command(self) -> list[str]:
        return ["fire", "--app", self.app, *self.options]

    def __str__(self) -> str:
        return shlex.join([self.app, *self.options])


def rows() -> Iterator[Row]:
    _, _, table = TABLE.read_text(encoding="utf-8").partition("<!-- apps -->")
    for line in table.strip().splitlines()[2:]:
        app, _, options, said = (cell.strip() for cell in line.strip("|").split(" | "))
        cause, _, words = said.partition(":")
        yield Row(app.strip("` "), shlex.split(options.strip("`")), cause, re.findall(r"`([^`]+)`", words))


ROWS = list(rows())


def reached(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0


def fired(row: Row) -> tuple[int, Any, str]:
    """Return the exit code, the document and what was complained of; once more where that is what the verdict says."""
    for _ in range(AGAIN):
        done = taskdemo(*row.command, "--json", cwd=APPS, timeout=100)
        document = json.loads(done.stdout) if done.stdout else None
        if document is None or document["blocking"]["cause"] != "not found":
            break
    return done.returncode, document, done.stderr


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[Any]"]]:
    """The runs of all rows that this session tests, a few at a time."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = [call.params["row"] for call in calls if call is not None and "row" in call.params]
    with ThreadPoolExecutor(BESIDE_EACH_OTHER) as pool:
        yield {str(row): pool.submit(fired, row) for row in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "row", [pytest.param(r, id=str(r), marks=[pytest.mark.broker] * ("postgres" in r.app)) for r in ROWS]
)
def test_what_is_said_of_an_application_is_what_the_table_says(row: Row, runs: dict[str, "Future[Any]"]) -> None:
    if "postgres" in row.app and not reached(5432):
        without("a PostgreSQL at 127.0.0.1:5432")
    code, document, complained = runs[str(row)].result()
    if row.cause == "refused":
        assert code == 2
        assert one_sentence(complained)
        assert all(word in complained for word in row.words)
        return
    assert document is not None, complained
    said = document["verdict"]
    assert document["blocking"]["cause"] == row.cause, said
    for word in row.words:
        assert word in said
    assert code in {0, 1}


def test_every_application_is_in_the_table() -> None:
    named = {re.split(r"\.py|:", row.app)[0] for row in ROWS}
    assert named == {path.stem for path in APPS.glob("*.py")}
    assert len(named) >= 25
