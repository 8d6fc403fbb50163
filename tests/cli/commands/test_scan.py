"""`scan`: every GET endpoint of an application of one's own, on a real server."""

import json
import signal
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from msgspec.structs import replace

import samples
from commands import in_process, one_sentence, running, taskdemo
from taskdemo_cli.analysis.blocking.causes import CAUSES
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.analysis.scan import judged
from taskdemo_cli.commands import scan
from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes import servers
from taskdemo_cli.recording.sightings import Sightings
from taskdemo_server.contract.sightings import Answered, Waiting

SHOP = """
import os
import time
from pathlib import Path
from typing import Annotated

import fastapi

admin = fastapi.FastAPI()
app = fastapi.FastAPI(openapi_url=None)
app.mount("/admin", admin)


@app.get("/orders/{order_id}")
async def order(order_id: Annotated[int, fastapi.Path(examples=[7])]):
    return {"id": order_id}


@app.get("/blocks")
async def blocks():
    time.sleep(0.3)


@app.get("/dies")
async def dies():
    os._exit(3)


@admin.get("/")
async def after_the_end():
    return {}


@app.post("/orders")
async def write():
    Path("written").touch()
"""


BLOCKING_LINE = SHOP.splitlines().index("    time.sleep(0.3)") + 1


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(SHOP)
    return tmp_path


def test_a_scan_names_the_endpoint_that_blocks_writes_nothing_and_goes_on_where_one_ends_the_server(
    shop: Path,
) -> None:
    done = taskdemo(
        *("scan", "--app", "main:app", "--json", "--fail-if-blocking", "--save", "scan.json", "--html", "scan.html"),
        cwd=shop,
    )
    assert done.returncode == 99, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((shop / "scan.json").read_text())
    assert document["kind"] == "scan"
    rows = {f"{row['method']} {row['path']}": row for row in document["endpoints"]}
    assert set(rows) == {"GET /orders/{order_id}", "POST /orders", "GET /blocks", "GET /dies", "GET /admin/"}
    assert rows["POST /orders"]["skipped"] == "POST may write"
    assert not (shop / "written").exists()
    assert rows["GET /orders/{order_id}"]["target"] == "/orders/7"
    assert rows["GET /orders/{order_id}"]["summary"]["requests"]["ok"] >= 2, "20, unless the machine is slow"
    assert rows["GET /blocks"]["blocking"]["blocks"]
    assert f"main.py:{BLOCKING_LINE}" in rows["GET /blocks"]["text"]
    assert 2 <= rows["GET /blocks"]["summary"]["requests"]["ok"] < 20, "one after another, so a few tell enough"
    assert "ended (exit 3)" in rows["GET /dies"]["text"]
    assert rows["GET /admin/"]["summary"]["requests"]["ok"] >= 2
    assert document["verdict"].startswith("1 of 3 endpoints holds up everybody: GET /blocks (")
    assert (
        "1 was not reached, because the answers were redirects, refusals or errors, or the server ended."
        in (document["verdict"])
    )
    assert "Which endpoints of" in (shop / "scan.html").read_text()
    again = taskdemo("report", "scan.json", cwd=shop)
    assert "✗ GET /blocks" in again.stdout


def test_a_scan_that_is_stopped_tells_what_it_has_found_by_then(shop: Path) -> None:
    with running("scan", "--app", "main:app", "--save", "scan.json", cwd=shop) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "GET /orders/{order_id}" in line)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
    document = json.loads((shop / "scan.json").read_text())
    assert document["interrupted"]
    assert document["endpoints"][0]["summary"]
    assert document["endpoints"][-1]["skipped"] == "the scan was stopped first"


def test_an_application_without_a_document_of_its_endpoints_is_one_sentence(shop: Path) -> None:
    (shop / "plain.py").write_text("async def app(scope, receive, send):\n    raise RuntimeError\n")
    done = taskdemo("scan", "--app", "plain:app", cwd=shop)
    assert done.returncode == 2
    assert one_sentence(done.stderr), done.stderr
    assert "taskdemo fire --app plain:app --path /" in done.stderr


@pytest.mark.parametrize(
    ("undocumented", "said", "path"),
    [
        (["/a", "/b"], "main:app has no endpoint to scan: no OpenAPI document has /a and /b", "/a"),
        (
            ["/{id}", *map("/{}".format, range(6))],
            "main:app has no endpoint to scan: no OpenAPI document has /{id}, /0, /1, /2, /3 and 2 more",
            "'/{id}'",
        ),
        # No HTTP request reaches its WebSocket.
        ([], "the endpoints of main:app are unknown: its OpenAPI document has none", "/"),
    ],
)
def test_an_application_that_documents_none_of_its_endpoints_is_one_sentence_with_the_paths_that_were_found(
    undocumented: list[str], said: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: dict[str, Any] = {"undocumented": undocumented, "websockets": ["/chat"]}
    document = {"document": {}, "under": "", "error": None, **paths}
    monkeypatch.setattr(servers, "get_json", lambda *_, **__: [document])
    target = MagicMock(**{"health.app": "main:app"})
    with pytest.raises(UserError) as raised:
        scan._routes_of(target, set())
    assert str(raised.value) == f"{said}; test one directly: taskdemo fire --app main:app --path {path}"


def test_an_application_whose_documents_take_too_long_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "get_json", MagicMock(side_effect=servers.SilentError("no answer within 60 s")))
    with pytest.raises(
        UserError, match=r"are not there \(no answer within 60 s\); test one directly: taskdemo fire --app"
    ):
        scan._routes_of(MagicMock(**{"health.app": "main:app"}), set())


REFUSED = samples.recorder([samples.sample(1, 0.01, status=401)]).finish(samples.header(url="http://x"))
LOGIN = judged(Route("GET", "/a", "/a"), REFUSED, Blocking(blocks=False, cause="not reached"))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (UserError("it is gone"), "The scan broke off: the server became unusable: it is gone. No"),
        ([LOGIN] * 3, "No endpoint was reached, because the answers were"),
    ],
)
def test_a_scan_that_breaks_off_or_reaches_none_says_why_and_ends_with_exit_code_1(
    found: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = MagicMock()
    rig.return_value.__enter__.return_value.stopping.asked = False
    monkeypatch.setattr(scan, "Rig", rig)
    target = MagicMock()
    target.return_value.__enter__.return_value.health.app = "main:app"
    monkeypatch.setattr(scan, "private_target", target)
    monkeypatch.setattr(scan, "_routes_of", lambda *_: [Route("GET", path, path) for path in ("/a", "/b", "/c")])
    monkeypatch.setattr(scan, "_scan_endpoint", MagicMock(side_effect=found))
    monkeypatch.setattr(scan, "_is_quiet", lambda _: True)
    done = in_process("scan", "--app", "main:app", "--fail-if-blocking")
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())


def test_what_the_first_request_was_answered_is_told_of_the_burst_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, target = MagicMock(), MagicMock()
    rig.stopping.asked = False
    runs = [
        samples.recorder([samples.sample(n, 0.01, status=503) for n in range(1, count + 1)]).finish(
            samples.header(url="http://x")
        )
        for count in (1, 6)
    ]
    rig.measure.side_effect = runs
    down = Answered(503, "/", None, None, None, '{"detail": "the database is down"}')
    first = Sightings(answers=[down])  # which the server tells once
    target.read_sightings.side_effect = lambda *_, **__: first if rig.measure.call_count == 1 else Sightings()
    monkeypatch.setattr(scan, "again", lambda target: target)
    monkeypatch.setattr(scan, "replace", lambda target, **_: target)
    plan = Plan(url="", count=6)
    found = scan._scan_endpoint(rig, target, Route("GET", "/", "/"), plan, MagicMock())
    assert "all 6 answers were 503 (the database is down)" in found.text


@pytest.mark.parametrize(
    ("causes", "queued_s", "run", "bursts"),
    [
        (["not found", "neither"], 0.0, {}, 2),
        (["not found", "not found"], 0.0, {}, 2),
        (["neither"], 0.0, {}, 1),
        (["not found"], 0.0, {"timed_out": True}, 1),
        (["not found"], 0.0, {"ended_because": "the server ended"}, 1),
        # on a machine that was busy, what blocks is measured again
        (["event loop held", "neither"], 0.05, {}, 2),
        (["event loop held", "event loop held"], 0.05, {}, 2),
        (["event loop held"], 0.04, {}, 1),
        (["waiting in line"], 0.05, {}, 1),
    ],
)
def test_an_endpoint_of_which_it_is_not_clear_whether_it_blocks_is_asked_once_more(
    monkeypatch: pytest.MonkeyPatch, causes: list[Any], queued_s: float, run: dict[str, Any], bursts: int
) -> None:
    rig, found = MagicMock(), iter(Blocking(blocks=CAUSES[cause].holds_up is not None, cause=cause) for cause in causes)
    rig.stopping.asked = False
    rig.measure.return_value = replace(
        samples.recorder([samples.sample(1, 0.01)]).finish(samples.header(url="http://x")), **run
    )
    monkeypatch.setattr(scan, "judge", lambda *_: next(found))
    monkeypatch.setattr(scan, "again", lambda target: target)
    monkeypatch.setattr(scan, "replace", lambda target, **_: target)
    target = MagicMock(**{"read_sightings.return_value": Sightings(waiting=[Waiting(queued_s=queued_s)])})
    row = scan._scan_endpoint(rig, target, Route("GET", "/", "/"), Plan(url="", count=1), MagicMock())
    assert row.blocking is not None
    assert row.blocking.cause == causes[-1]
    assert rig.measure.call_count == bursts
