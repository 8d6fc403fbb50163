"""What is Procrastinate's own, and the private PostgreSQL's."""

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import until
from taskdemo_server.engines import postgres

pytest.importorskip("procrastinate", reason="the extra `procrastinate` is not installed")
pytestmark = pytest.mark.skipif(postgres.programs() is None, reason="there is no PostgreSQL for this platform")


def test_a_private_postgresql_is_gone_with_its_folder_as_soon_as_its_starter_is(tmp_path: Path) -> None:
    broker = subprocess.Popen(
        [sys.executable, "-m", "taskdemo_server.engines.postgres", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert broker.stdin is not None
    assert broker.stdout is not None
    url = broker.stdout.readline().decode().strip()
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute("SHOW unix_socket_directories").fetchone()
        assert found is not None
        folder = Path(found[0])
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert folder.stat().st_mode & 0o777 == 0o700
    broker.stdin.close()
    broker.wait(10)
    broker.stdout.close()
    until(lambda: not folder.exists(), 5)
