"""What is Procrastinate's own."""

from collections.abc import Callable
from typing import Any

import pytest

from conftest import RunningServer, until
from engines.stage import Stage
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.engines import postgres

pytest.importorskip("procrastinate", reason="the extra `procrastinate` is not installed")
pytestmark = pytest.mark.skipif(postgres.programs() is None, reason="there is no PostgreSQL for this platform")
MODE = MODE_BY_NAME["procrastinate"]


def test_a_worker_that_was_silent_for_seconds_is_not_forgotten_when_another_starts(
    start_server: Callable[..., RunningServer], stage: Stage
) -> None:
    import psycopg

    stage.a_broker(MODE)
    start_server(mode="procrastinate", broker=stage.broker, queue=stage.queue)  # which makes the tables
    silent = stage.worker(MODE)
    stage.ready(silent)
    with psycopg.connect(stage.broker, autocommit=True) as database:
        silent.program.suspend()
        until(lambda: _workers(database, "<=") == 1)  # those who would be dead to the page's own look
        other = stage.worker(MODE)
        stage.ready(other)
        silent.program.resume()
        until(lambda: _workers(database, ">") == 2)


def _workers(database: Any, compared: str) -> int:
    query = f"SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat {compared} now() - interval '4 s'"
    return int(database.execute(query).fetchone()[0])
