"""The tests of test_engine_limits.py with the other half of the engines."""

import pytest

from engines.stage import EVERY_ENGINE
from engines.test_engine_limits import (  # noqa: F401
    test_a_worker_that_is_told_to_end_ends_what_it_has_begun_and_the_next_does_the_rest,
    test_an_engine_has_the_limits_that_the_registry_says_and_no_other,
    test_no_task_is_lost_at_any_kill,
)
from limits_runs import run
from taskdemo_cli.documents.limits import LimitsDocument
from taskdemo_server.contract.modes import Mode


@pytest.fixture(scope="module", params=EVERY_ENGINE[1::2])
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Mode, LimitsDocument]:
    return request.param, run(tmp_path_factory.mktemp("limits"), [request.param.name])
