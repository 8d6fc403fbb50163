"""A claim to a queue, by kind of broker: one has it, it goes with its connection, and it is taken again."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from conftest import until
from engines.stage import Stage, staging
from taskdemo_server.engines import claims, valkey

pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")


class AnEngine:
    """As much of an engine as makes claims, and the connections that it has made for them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.takes: list[claims.Take] = []

    def claim(self, name: str) -> claims.Take:
        self.takes.append(claims.over_redis(self.url, name))
        return self.takes[-1]


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.valkey()
    return stage


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    monkeypatch.setattr(claims, "_KEEP_EVERY_S", 0.05)
    monkeypatch.setattr(claims, "_WAIT_S", 0.3)
    return lambda engine, queue="rq:taskdemo": claims.hold(engine, queue)


def ours(url: str) -> list[dict[str, Any]]:
    with redis.Redis.from_url(url) as client:
        return [one for one in client.client_list() if one["name"].startswith("taskdemo:server:")]


def test_of_all_who_come_at_once_one_has_the_queue(
    stage: Stage, hold: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_NAMED_S", 0.6)  # on a slow machine too
    found: list[bool] = []
    callers = [threading.Thread(target=lambda: found.append(hold(AnEngine(stage.broker)))) for _ in range(4)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert sorted(found) == [False, False, False, True]


def test_another_queue_another_engine_and_another_database_are_free(stage: Stage, hold: Callable[..., bool]) -> None:
    assert hold(AnEngine(stage.broker))
    assert not hold(AnEngine(stage.broker))
    assert hold(AnEngine(stage.broker), "rq:other")
    assert hold(AnEngine(stage.broker), "celery:taskdemo")
    assert hold(AnEngine(stage.broker[:-1] + "1"))


def test_a_claim_is_taken_again_once_the_broker_is_back(tmp_path: Path, hold: Callable[..., bool]) -> None:
    with staging(tmp_path / "dies") as stage:
        broker = stage.valkey()
        assert hold(AnEngine(stage.broker))
        broker.program.kill()
        broker.wait()
        stage.valkey(int(stage.broker.rpartition(":")[2].partition("/")[0]))
        until(lambda: len(ours(stage.broker)) == 1)
        assert not hold(AnEngine(stage.broker))


def test_who_may_not_ask_is_told_so_and_not_refused(
    stage: Stage, hold: Callable[..., bool], capfd: pytest.CaptureFixture[str]
) -> None:
    with redis.Redis.from_url(stage.broker) as client:
        client.execute_command("ACL", "SETUSER", "shy", "on", "nopass", "~*", "+@all", "-@admin")
    assert hold(AnEngine(stage.broker.replace("//", "//shy:x@")))
    said = capfd.readouterr().err
    assert said.startswith("Whether another server has the queue rq:taskdemo cannot be asked (User shy has")
    assert said.count("\n") == 1
