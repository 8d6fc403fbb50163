"""Work that kills its own process: in every engine it is begun a bounded number of times, and what follows is done."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from conftest import RunningServer, serving, until
from engines.stage import EVERY_ENGINE, each
from taskdemo_server.contract.events import ENDED
from taskdemo_server.contract.modes import Mode
from taskdemo_server.engines.children import MOST_DEATHS

LETHAL = """
import os, sys

def work(message):
    if message == "die":
        os._exit(1)
    if message == "exit":
        sys.exit("no more")
"""
PATIENCE_S = 150.0
"""Taskiq alone waits 30 s for somebody who begins it again. Dramatiq was seen to take 81 s when it gave a dead
process's tasks on after 5 s, not 10."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningServer]]:
    """A server with each engine, which has such tasks already: they wait beside each other."""
    folder = tmp_path_factory.mktemp("deaths")
    (folder / "lethal.py").write_text(LETHAL)
    with ExitStack() as stack:

        def begin(mode: Mode) -> RunningServer:
            server = stack.enter_context(
                serving(folder / mode.name, mode=mode.name, work="lethal:work", folder=str(folder))
            )
            for message in ("die", "exit"):
                assert server.get(params={"message": message}).status_code == 200
            return server

        yield each(begin)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_a_task_that_kills_its_process_is_begun_a_bounded_number_of_times_and_then_given_up(
    mode: Mode, servers: dict[str, RunningServer]
) -> None:
    server = servers[mode.name]
    died, exited = (event.id for event in server.events() if event.state == "accepted")
    until(lambda: ENDED & set(server.states(died)), PATIENCE_S)
    begun = server.states(died).count("started")
    assert begun <= MOST_DEATHS + 2  # some may be on their way when the bound is reached
    shown = server.get(f"/tasks/{died}").json()
    assert (shown["state"] in {"lost", "failed"}, bool(shown["error"])) == (True, True), server.states(died)
    # What exits has ended, and is begun again where a worker takes that for a death: until that is seen, once a second.
    until(lambda: server.states(exited).count("started") == 1 or "cancelled" in server.states(exited), PATIENCE_S)
    assert server.get(f"/tasks/{exited}").json()["error"] == "SystemExit: no more"
    exits = server.states(exited).count("started")
    following = until(lambda: server.get(params={"message": "well"}).headers.get("X-Task-ID"), PATIENCE_S)
    assert following is not None
    try:
        until(lambda: server.states(following)[-1:] == ["finished"], PATIENCE_S)
    except pytest.fail.Exception:
        pytest.fail(f"it was {server.states(following)}, beside {server.states(died)}; {server.complained}")
    assert server.get(f"/tasks/{died}").json()["state"] == shown["state"]
    assert server.states(died).count("started") <= MOST_DEATHS + 2
    assert server.states(exited).count("started") == exits
