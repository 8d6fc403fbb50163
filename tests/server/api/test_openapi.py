"""The server under Schemathesis, with the description that it gives of itself: no answer that is not documented."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from conftest import RunningServer

Start = Callable[..., RunningServer]

CONFORMANCE = ",".join(
    f"{what}_conformance" for what in ("status_code", "content_type", "response_headers", "response_schema")
)


@pytest.fixture(autouse=True)
def _schemathesis() -> None:
    if find_spec("schemathesis") is None:
        if os.environ.get("TASKDEMO_REQUIRE_PARTS") == "1":
            pytest.fail("Schemathesis is not installed, and TASKDEMO_REQUIRE_PARTS=1 says that it is there")
        pytest.skip("Schemathesis is not installed")


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"mode": "blocking", "token": "a-secret"}, ["Authorization: Bearer a-secret"]),
        ({"mode": "background", "max_pending": 1, "duration": 600, "token": "a-secret"}, []),
    ],
    ids=["with a token", "overloaded, without the token"],
)
def test_every_answer_is_one_that_is_documented(
    start_server: Start, settings: dict[str, Any], headers: list[str]
) -> None:
    server = start_server(**{"duration": 0} | settings)
    server.get()
    given = {"headers": {"Authorization": "Bearer a-secret"}} if "token" in settings else {}
    (server.folder / "openapi.json").write_bytes(server.get("/openapi.json", **given).content)
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", server.url, "--no-color"]
    command += ["--max-examples", "10" if headers else "1", "--generation-deterministic"]
    # A stream of events has no end that one could wait for.
    command += ["--exclude-path", "/events", "--request-timeout", "10", "--warnings", "off"]
    # A 503 is what an overloaded server is to answer, and documented; elsewhere none of the five hundreds may come.
    checks = CONFORMANCE if "max_pending" in settings else f"{CONFORMANCE},not_a_server_error"
    command += ["--checks", checks]
    for header in headers:
        command += ["--header", header]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=server.folder, check=False)
    if "max_pending" in settings:
        assert server.states().count("accepted") == 1
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "generated" in done.stdout
    assert server.complained == ""
    assert server.get("/ping").status_code == 200
