"""What `fire --app` and `scan` say of each small application is what the table of docs/own-app.md says."""

import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands import one_sentence, taskdemo
from parts import must_listen

TESTS = Path(__file__).resolve().parents[2]
APPS = TESTS / "apps"
TABLE = TESTS.parent / "docs" / "own-app.md"
SITES = tuple(f"../all_apps.py:{quarter}" for quarter in ("first", "second", "third", "fourth"))
"""Applications that have many of the small ones in them: a scan of each asks all of these."""
SCAN = ("scan", "--count", "6", "--timeout", "2")
BESIDE_EACH_OTHER = 3
"""A machine on which more of them compute says of some that it was too busy to tell."""
Said = tuple[int, dict[str, Any] | None, str]
"""An exit code, what was said of an endpoint, and what was complained of."""


@dataclass(frozen=True)
class Row:
    """One row of the table, asked in one way."""

    app: str
    asked: list[str]
    cause: str
    words: list[str]

    @property
    def endpoint(self) -> str:
        """Its path in one of the sites, where a scan asks it."""
        return f"/{Path(self.app).stem}{self.asked[1] if len(self.asked) > 1 else '/'}"

    def __str__(self) -> str:
        return shlex.join([self.app, *self.asked])


def rows() -> Iterator[Row]:
    _, _, table = TABLE.read_text(encoding="utf-8").partition("<!-- apps -->")
    for line in table.strip().splitlines()[2:]:
        app, _, ways, said = (cell.strip() for cell in line.strip("|").split(" | "))
        cause, _, words = said.partition(":")
        for asked in re.findall(r"`([^`]+)`", ways):
            yield Row(app.strip("` "), shlex.split(asked), cause, re.findall(r"`([^`]+)`", words))


ROWS = list(rows())


def fired(row: Row) -> Said:
    done = taskdemo("fire", "--app", row.app, *row.asked[1:], "--json", cwd=APPS, timeout=400)
    document = json.loads(done.stdout) if done.stdout else None
    return done.returncode, document and {**document, "text": document["verdict"]}, done.stderr


def scanned(site: str) -> dict[str, Said]:
    """Return what a scan of one of the sites says, by the path of the endpoint."""
    done = taskdemo(*SCAN, "--app", site, "--json", cwd=APPS, timeout=700)
    assert done.stdout, done.stderr
    return {row["path"]: (done.returncode, row, done.stderr) for row in json.loads(done.stdout)["endpoints"]}


class Asked:
    """What was said, of all rows that this session tests: the scans begin first, for they take longest."""

    def __init__(self, pool: ThreadPoolExecutor, wanted: list[Row]) -> None:
        is_scanned = any(row.asked[0] == "scan" for row in wanted)
        self._scans = [pool.submit(scanned, site) for site in SITES] if is_scanned else []
        self._fires: dict[str, Future[Said]] = {
            str(row): pool.submit(fired, row) for row in wanted if row.asked[0] == "fire"
        }

    def of(self, row: Row) -> Said:
        if row.asked[0] == "fire":
            return self._fires[str(row)].result()
        return {path: said for scan in self._scans for path, said in scan.result().items()}[row.endpoint]


@pytest.fixture(scope="module")
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = [call.params["row"] for call in calls if call is not None and isinstance(call.params.get("row"), Row)]
    with ThreadPoolExecutor(BESIDE_EACH_OTHER) as pool:
        yield Asked(pool, wanted)
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "row", [pytest.param(r, id=str(r), marks=[pytest.mark.broker] * ("postgres" in r.app)) for r in ROWS]
)
def test_what_is_said_of_an_application_is_what_the_table_says(row: Row, asked: Asked) -> None:
    if "postgres" in row.app:
        must_listen("postgres")
    code, said, complained = asked.of(row)
    if row.cause == "refused":
        assert code == 2
        assert one_sentence(complained)
        assert all(word in complained for word in row.words)
        return
    assert said is not None, complained
    assert said["blocking"]["cause"] == row.cause, said["text"]
    for word in row.words:
        assert word in said["text"]
    assert code in {0, 1}


def test_every_application_is_in_the_table() -> None:
    named = {Path(row.app).stem for row in ROWS}
    assert named == {path.stem for path in APPS.glob("[!_]*.py")}
    assert len(named) >= 25
