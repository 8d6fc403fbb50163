"""A claim to a queue, by kind of broker: one has it, and it goes with its connection."""

import os
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import redis

from engines.stage import Stage, of
from parts import needs_private
from servers import Start, refusal
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings
from taskdemo_server.engines import base, claims
from waiting import until

pytestmark = needs_private("valkey")


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.valkey()
    return stage


def over_redis(url: str) -> Any:
    """Return what claims as the engines over Redis do."""
    return SimpleNamespace(claim=partial(claims.over_redis, url))


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    monkeypatch.setattr(claims, "_CLAIM_TIMEOUT_S", 0.3)
    held: list[claims.Take] = []

    def hold(url: str, queue: str = "rq:taskdemo") -> bool:
        take = claims.claim(over_redis(url), queue)
        if take is not None:
            held.append(take)
        return take is not None

    return hold


def test_of_all_who_come_at_once_one_has_the_queue(
    stage: Stage, hold: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_NAMED_S", 0.6)  # on a slow machine too
    found: list[bool] = []
    callers = [threading.Thread(target=lambda: found.append(hold(stage.broker))) for _ in range(4)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert sorted(found) == [False, False, False, True]


def test_another_queue_another_engine_and_another_database_are_free(stage: Stage, hold: Callable[..., bool]) -> None:
    assert hold(stage.broker)
    assert not hold(stage.broker)
    assert hold(stage.broker, "rq:other")
    assert hold(stage.broker, "celery:taskdemo")
    assert hold(stage.broker[:-1] + "1")


def test_who_may_not_ask_is_told_so_and_not_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with redis.Redis.from_url(stage.broker) as client:
        client.execute_command("ACL", "SETUSER", "shy", "on", "nopass", "~*", "+@all", "-@admin")
    monkeypatch.setattr(claims, "load", lambda _engine: over_redis(stage.broker.replace("//", "//shy:x@")))
    claims.check(Settings(mode="rq", journal="", broker=stage.broker), of(MODE_BY_NAME["rq"]))
    said = capfd.readouterr().err
    assert said.startswith("Cannot check whether another server uses the queue rq:taskdemo (User shy has")
    assert said.count("\n") == 1


def test_a_queue_whose_claim_a_broker_has_forgotten_is_claimed_again(stage: Stage, start_server: Start) -> None:
    given = {"mode": "rq", "broker": stage.broker}
    start_server(**given)
    with redis.Redis.from_url(stage.broker) as client:

        def ids() -> list[str]:
            return [one["id"] for one in client.client_list() if one["name"] == "taskdemo:server:rq:taskdemo"]

        (before,) = ids()
        client.client_kill_filter(_id=before)  # all that a broker which was started again differs by
        until(lambda: ids() not in ([], [before]))
    assert refusal(start_server, **given).startswith("Another server of mode rq uses the queue taskdemo of ")


def test_a_queue_that_another_server_has_taken_meanwhile_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claims, "_LOOK_EVERY_S", 0)
    claims.keep(MagicMock(), "rq:mine", lambda: False)
    assert capfd.readouterr().err.startswith("Another server took the queue rq:mine while")


def test_rabbitmq_refusing_for_another_reason_is_neither_a_claim_nor_another_server() -> None:
    connection = MagicMock()
    refusals = [type("RefusedError", (Exception,), {"reply_code": code}) for code in (405, 403)]
    connection.channel.side_effect = refusals
    take = claims.over_rabbitmq(connection, "queue")
    assert not take()  # locked: another one has it
    with pytest.raises(refusals[1]):
        take()


def test_a_page_without_a_backend_asks_none_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "TASK_QUEUE", "LONGEST_TASK_S"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RESULT_BACKEND", "redis://somebody/1")
    base.tell_page(of(MODE_BY_NAME["celery"]), "redis://here/0", None, "queue", 1.0)
    assert "RESULT_BACKEND" not in os.environ
