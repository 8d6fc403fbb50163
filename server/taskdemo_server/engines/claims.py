"""A server's claim to its queue, which keeps two servers from sending tasks to each other's workers.

A claim lasts as long as a connection or an open file of this process, so a dead server holds none. A restarted broker
has forgotten all connections, so a server claims its queue there again.
"""

import contextlib
import fcntl
import os
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, Final

from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import Engine
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import without_password
from taskdemo_server.engines.base import EngineModule, load, reason

Take = Callable[[], bool]
"""Takes the claim, and returns False if another server has it. Raises the library's own exceptions.

It keeps the connection or the file open on which the claim depends.
"""

_AGAIN_EVERY_S: Final = 0.1
_LOOK_EVERY_S: Final = 1.0
_CLAIM_TIMEOUT_S: Final = 1.5
"""How long a server that was just killed may still hold its claim: its broker has yet to notice."""
_NAMED_S: Final = 0.2
"""Seconds within which a new Redis connection sets its name: after that, all earlier claims are visible."""
_LOCKED: Final = 405
"""AMQP's reply code for a queue that is exclusive to another connection."""


def check(settings: Settings, engine: Engine) -> None:
    """Claim the server's queue for as long as the process lives, unless its broker is private.

    Raises UnusableError if another server has it. If the broker cannot be asked, by this user or at all, warn only.
    """
    if not settings.shares_broker:
        return
    module, queue = load(engine), f"{settings.mode}:{settings.queue}"
    try:
        take = claim(module, queue)
    except Exception as error:  # noqa: BLE001  each library has its own
        complain(f"Cannot check whether another server uses the queue {queue} ({reason(error)}).")
        return
    if take is None:
        raise UnusableError(
            f"Another server of mode {settings.mode} uses the queue {settings.queue} of"
            f" {without_password(str(settings.broker))}; fire at that one, stop it, or give --queue NAME to"
            " this server and its workers"
        )
    threading.Thread(target=keep, args=(module, queue, take), name="claim", daemon=True).start()


def claim(engine: EngineModule, queue: str) -> Take | None:
    """Claim a queue, and return the function that holds the claim; None if another server has it."""
    take, deadline = engine.claim(_name(queue)), time.monotonic() + _CLAIM_TIMEOUT_S
    while not take():
        if time.monotonic() > deadline:
            return None
        time.sleep(_AGAIN_EVERY_S)
    return take


def keep(engine: EngineModule, queue: str, take: Take) -> None:
    """Renew a claim until another server has it, over a new connection whenever the last one is lost."""
    while True:
        time.sleep(_LOOK_EVERY_S)
        try:
            if not take():
                complain(f"Another server took the queue {queue} while the broker was away; stop one of the two.")
                return
        except Exception:  # noqa: BLE001  each library has its own; the broker may be away for long
            with contextlib.suppress(Exception):
                take = engine.claim(_name(queue))


def _name(queue: str) -> str:
    return f"taskdemo:server:{queue}"


def over_redis(url: str, name: str) -> Take:
    """Claim by the name of a connection; of several with the same name, the oldest has the claim."""
    from redis import Redis

    client = Redis.from_url(url, single_connection_client=True, client_name=name, socket_timeout=1)
    client.ping()
    time.sleep(_NAMED_S)

    def take() -> bool:
        mine = client.client_id()
        database = {int(one["id"]): one["db"] for one in client.client_list() if one["name"] == name}
        return mine == min(number for number, db in database.items() if db == database[mine])

    return take


def over_rabbitmq(connection: Any, name: str) -> Take:
    """Claim by an exclusive queue. The connection must have no heartbeats, because nothing answers them.

    The method names used here are common to the engines' AMQP libraries.
    """

    def take() -> bool:
        try:
            with connection.channel() as channel:
                channel.queue_declare(name, exclusive=True)
        except Exception as error:
            if getattr(error, "reply_code", None) != _LOCKED:
                raise
            return False
        return True

    return take


def over_postgres(url: str, name: str) -> Take:
    """Claim by a session's advisory lock."""
    import psycopg

    connection = psycopg.connect(url, autocommit=True, connect_timeout=2)

    def take() -> bool:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (zlib.crc32(name.encode()),)).fetchone()
        return row is not None and bool(row[0])

    return take


def over_file(path: str, name: str) -> Take:
    """Claim by locking one byte, which the name determines, of an empty file next to this one."""
    file = os.open(f"{path}-servers", os.O_RDWR | os.O_CREAT, 0o600)

    def take() -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(name.encode()))
        except OSError:
            return False
        return True

    return take
