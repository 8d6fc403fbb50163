"""A server's claim to its queue, so that no other server's tasks go to its workers, nor its own to theirs.

It lives as long as a connection or an open file of this process: a dead server holds nothing. Where the broker was away
meanwhile it is taken again; whoever came first then has it, and a server that serves already goes on either way.
"""

import fcntl
import os
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import without_password
from taskdemo_server.engines.base import EngineModule, load, reason

Take = Callable[[], bool]
"""Takes the claim, or sees that it is still held; False where another has it. Raises what the library does."""

_AGAIN_EVERY_S: Final = 0.1
_WAIT_S: Final = 1.5
"""A server that has just been killed may hold its claim for so long: its broker has yet to notice."""
_NAMED_S: Final = 0.2
"""Within which a client of Redis has said its name once it is connected: then all who came before are seen."""
_KEEP_EVERY_S: Final = 2.0


def check(settings: Settings) -> None:
    """Claim the server's queue at a broker of others. Raises UnusableError where another server has it."""
    engine = MODE_BY_NAME[settings.mode].engine
    if engine is None or settings.private_broker is not None:
        return
    if not hold(load(engine), f"{settings.mode}:{settings.queue}"):
        raise UnusableError(
            f"Another server of mode {settings.mode} has the queue {settings.queue} of"
            f" {without_password(str(settings.broker))}; fire at that one, end it, or part them by --queue NAME, to"
            " taskdemo serve and to its workers"
        )


def hold(engine: EngineModule, queue: str) -> bool:
    """Claim a queue for as long as this process lives; False where another server has it.

    Where the broker cannot be asked, by this user or at all, nobody is refused.
    """
    name = f"taskdemo:server:{queue}"
    deadline = time.monotonic() + _WAIT_S
    try:
        take = engine.claim(name)
        while not take():
            if time.monotonic() > deadline:
                return False
            time.sleep(_AGAIN_EVERY_S)
    except Exception as error:  # noqa: BLE001  each library has its own
        complain(f"Whether another server has the queue {queue} cannot be asked ({reason(error)}).")
        return True
    threading.Thread(target=_keep, args=(engine, name, take), name="claim", daemon=True).start()
    return True


def _keep(engine: EngineModule, name: str, take: Take) -> None:
    """Use the connection, so that nobody takes it for dead; open another once it is."""
    while True:
        time.sleep(_KEEP_EVERY_S)
        try:
            take()
        except Exception:  # noqa: BLE001  as above
            with suppress(Exception):
                take = engine.claim(name)
                take()


def over_redis(url: str, name: str) -> Take:
    """Claim by the name of a connection; of several with one name the oldest has it."""
    from redis import Redis

    client = Redis.from_url(url, single_connection_client=True, client_name=name, socket_timeout=1)
    client.ping()
    time.sleep(_NAMED_S)

    def take() -> bool:
        mine = client.client_id()
        database = {int(one["id"]): one["db"] for one in client.client_list() if one["name"] == name}
        return mine == min(number for number, db in database.items() if db == database[mine])

    return take


def over_postgres(url: str, name: str) -> Take:
    """Claim by an advisory lock of a session."""
    import psycopg

    connection = psycopg.connect(url, autocommit=True, connect_timeout=2)

    def take() -> bool:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (zlib.crc32(name.encode()),)).fetchone()
        return row is not None and bool(row[0])

    return take


def over_file(path: str, name: str) -> Take:
    """Claim by the lock of one byte, the queue's own, of an empty file beside this one."""
    file = os.open(f"{path}-servers", os.O_RDWR | os.O_CREAT, 0o600)

    def take() -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(name.encode()))
        except OSError:
            return False
        return True

    return take
