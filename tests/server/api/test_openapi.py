"""The server under Schemathesis, with the description that it gives of itself: no answer that is not documented."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from parts import without
from servers import Start

CONFORMANCE = ",".join(
    f"{what}_conformance" for what in ("status_code", "content_type", "response_headers", "response_schema")
)


@pytest.fixture(autouse=True)
def _schemathesis() -> None:
    if find_spec("schemathesis") is None:
        without("Schemathesis")


def test_every_answer_is_one_that_is_documented(start_server: Start) -> None:
    server = start_server(max_pending=1, duration=600, token="a-secret")
    server.get()  # from now on it is overloaded
    authorization = {"Authorization": "Bearer a-secret"}
    (server.folder / "openapi.json").write_bytes(server.get("/openapi.json", headers=authorization).content)
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", server.url, "--no-color"]
    command += ["--max-examples", "10", "--generation-deterministic", "--header", "Authorization: Bearer a-secret"]
    # A stream of events has no end that one could wait for.
    command += ["--exclude-path", "/events", "--request-timeout", "10", "--warnings", "off", "--checks", CONFORMANCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=server.folder, check=False)
    assert server.states().count("accepted") == 1
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "generated" in done.stdout
    assert server.complained == ""
    assert server.get("/ping").status_code == 200
