"""Fixtures that more than one test file uses, and in which order the files run."""

import os
import queue
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

import chromium
import forked
from parts import without
from servers import RunningServer, Start, own_work, serving
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Frames

if TYPE_CHECKING:
    from engines.stage import Stage

for one in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):  # people have none; what is different has its own tests
    os.environ.pop(one, None)
hypothesis.settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any speed")

LONGEST = (
    *("engine_limits", "brokers_away", "engine_ends", "lifecycle", "celery", "real_brokers", "live_page", "contract"),
    *("verdicts_of_modes", "docs"),
)
"""The files that take longest: they begin, so that nobody waits for the last of them at the end."""
HELD = """
import pathlib, time

def work(message):
    while not pathlib.Path(__file__).with_name("go").exists():
        time.sleep(0.01)
"""
QUIETEST = "own_app_table"
"""What is said of an application is "not clear" on a busy machine: it comes last, beside the fewest others."""


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that forks, one for all who run tests; it imports while these are collected."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        forked.forks_at()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in that order."""
    place = {f"test_{name}.py": 0 for name in LONGEST} | {f"test_{QUIETEST}.py": 2}
    items.sort(key=lambda item: place.get(item.path.name, 1))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server with the given settings; all of them end with the test."""
    with ExitStack() as stack:
        count = 0

        def start(**given: Any) -> RunningServer:
            nonlocal count
            count += 1
            return stack.enter_context(serving(tmp_path / f"server{count}", **given))

        yield start


@pytest.fixture
def held(tmp_path: Path) -> dict[str, Any]:
    """Settings of a server whose work lasts until the test touches `tmp_path / "go"`, however slow the machine is."""
    return own_work(tmp_path, HELD)


@pytest.fixture
def frames() -> Frames:
    return queue.Queue()


@pytest.fixture
def loader(frames: Frames) -> Iterator[Loader]:
    """A load process that puts what it reports into `frames`."""
    with forked.forking():
        loader = Loader(frames, log=2)
        yield loader
        loader.close()


@pytest.fixture
def stage(tmp_path: Path) -> "Iterator[Stage]":
    """A queue of one's own for brokers and workers of the engines."""
    from engines.stage import staging

    with staging(tmp_path / "stage") as stage:
        yield stage


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One `background` server with short work, for all the tests of a file that leave it as it was."""
    with serving(tmp_path_factory.mktemp("shared"), duration=0) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    program = chromium.found()
    if program is None:
        without("Chromium or Chrome")
        return
    with chromium.browser(program, tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from the file that $TASKDEMO_AXE names: a test fetches nothing."""
    path = Path(os.environ.get("TASKDEMO_AXE", ""))
    if not path.is_file():
        without("axe-core: `npm pack axe-core@4`, and TASKDEMO_AXE naming the axe.min.js in it")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """What a server needs that the client trusts."""
    from certificates import server_context  # which imports from here

    folder = tmp_path_factory.mktemp("tls")
    context = server_context(folder)
    trusting = ssl.create_default_context(cafile=folder / "certificate.pem")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("taskdemo_cli.loadgen.tls.context", lambda: trusting)
        yield context
