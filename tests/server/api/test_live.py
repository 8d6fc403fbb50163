"""The live page as a server gives it out: who may open it, what its policy lets in, and that it is no secret."""

import base64
import hashlib
import json
import re
import shlex
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from servers import RunningServer, Start
from taskdemo_cli.reports.terminal.style import Palette
from taskdemo_server.contract.drawing import LEGEND, STYLE
from taskdemo_server.contract.modes import MODES
from taskdemo_server.contract.settings import Settings
from taskdemo_server.runtime.console import banner, worker_command

APP = "from fastapi import FastAPI\n\napp = FastAPI()\n\n\n@app.get('/live')\ndef live() -> str:\n    return 'theirs'\n"


def pieces(page: str, tag: str) -> list[str]:
    return re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)


def test_the_page_lets_nothing_run_or_be_asked_but_its_own(shared_server: RunningServer) -> None:
    answer = shared_server.get("/live")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    hashes = {}
    for tag in ("script", "style"):
        [piece] = pieces(answer.text, tag)
        hashes[f"{tag}-src"] = f"'sha256-{base64.b64encode(hashlib.sha256(piece.encode()).digest()).decode()}'"
    assert policy == {
        "default-src": "'none'",
        **hashes,
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    assert re.findall(r"""(?:src|href)=["'](?!data:,)""", answer.text) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", answer.text) == []
    assert re.findall(r"""\s(?:style|on\w+)=["']""", answer.text) == []


def test_it_is_drawn_in_the_colours_and_words_of_the_report(shared_server: RunningServer) -> None:
    page = shared_server.get("/live").text
    [style] = pieces(page, "style")
    assert STYLE in style
    for kind, words in LEGEND:
        assert (words in page) == (kind != "open")


def test_it_knows_the_modes_from_the_registry_and_is_the_same_on_every_server(
    shared_server: RunningServer, start_server: Start
) -> None:
    page = shared_server.get("/live").text
    found = re.search(r"const FACTS = (\{.*\})\n", page)
    assert found
    facts = json.loads(found[1])
    assert {name: known["expect"] for name, known in facts["modes"].items()} == {
        mode.name: mode.expect for mode in MODES
    }
    other = start_server(mode="threadpool", duration=3.25, threads=7, token="t0ken-of-this-server")
    assert other.get("/live").text == page


def test_others_may_link_to_the_page_but_not_ask_for_it_or_for_what_it_shows(shared_server: RunningServer) -> None:
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert shared_server.get("/live", headers=linked).status_code == 200
    assert shared_server.get("/events", headers=linked).status_code == 403
    assert shared_server.client.post("/live").status_code == 405


def test_beside_a_users_own_application_it_stands_under_a_path_of_ours(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(APP)
    server = start_server(mode="app", app="theirs:app", folder=str(tmp_path), token="t0ken")
    assert server.get("/live").json() == "theirs"
    page = server.get("/.taskdemo/live")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert server.get("/.taskdemo/health").status_code == 401


def test_the_banner_names_the_page_with_the_token_that_it_needs_where_no_server_hears_it() -> None:
    settings = Settings(mode="background", journal="/journal")
    assert "  live   http://127.0.0.1:8000/live\n" in banner(settings, "http://127.0.0.1:8000", 8000, terminal=False)
    settings = Settings(mode="background", journal="/journal", token="a b#c")
    assert "/live#a%20b%23c\n" in banner(settings, "http://127.0.0.1:8000", 8000, terminal=False)


def test_a_shell_understands_the_commands_of_the_banner() -> None:
    broker = "postgresql:///tasks?host=/run/my db&user=me"
    settings = Settings(mode="procrastinate", journal="/journal", token="a b#c", broker=broker)
    rows = banner(settings, "http://127.0.0.1:8000", 8000, terminal=False)
    commands = {name: shlex.split(words) for name, words in re.findall(r"^  (try|worker) +(.+)$", rows, re.MULTILINE)}
    assert commands["try"][-2:] == ["--token", "a b#c"]
    assert commands["worker"][:6] == ["taskdemo", "worker", "--engine", "procrastinate", "--broker", broker]
    assert commands["worker"][-2:] == ["--token", "a b#c"]


def test_a_worker_on_another_machine_reaches_a_server_that_other_machines_reach() -> None:
    settings = Settings(mode="rq", journal="/journal", broker="redis://broker", duration=2.0)
    like = "taskdemo worker --engine rq --broker redis://broker --duration 2 --server"
    at_home = "http://127.0.0.1:8000"
    assert worker_command(settings, at_home) == f"{like} {at_home}"
    anywhere = f"{like} http://{socket.gethostname()}:8000"
    assert worker_command(replace(settings, host="0.0.0.0"), at_home) == anywhere
    assert worker_command(replace(settings, host="::"), "http://[::1]:8000") == anywhere
    assert worker_command(replace(settings, host="10.0.0.7"), "http://10.0.0.7:8000") == f"{like} http://10.0.0.7:8000"


def test_the_banner_is_in_the_colours_of_the_reports_which_are_read_on_white_and_on_black(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = banner(Settings(mode="background", journal="/journal"), "http://127.0.0.1:8000", 8000, terminal=True)
    colours = {style.color.triplet for style in (Palette.WORKING, Palette.GOOD) if style.color}
    assert set(re.findall(r"38;2;\d+;\d+;\d+|\b3\d?m", shown)) == {
        f"38;2;{one.red};{one.green};{one.blue}" for one in colours if one
    }
