"""What is wrong with a broker, in one sentence. Knows Celery's and kombu's errors, so that nobody else needs to."""

from typing import Final

from celery import Celery

from taskdemo_server.broker import shown
from taskdemo_server.contract.text import shortened

_CHECK_S: Final = 1.0
_SHAPES: Final = "redis://:PASSWORD@HOST:PORT/0 or amqp://USER:PASSWORD@HOST:PORT//"


def refusal(app: Celery, *, needed: bool = False) -> str | None:
    """Try to connect to the application's broker, for a second or so; return why that failed, as a sentence.

    `needed`: whoever asks cannot start a private one instead.
    """
    url = app.conf.broker_url
    if "://" not in url:
        return why(url, ValueError(), needed=needed)
    try:
        with app.connection_for_write(connect_timeout=_CHECK_S) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_CHECK_S)
            connection.default_channel  # noqa: B018  Redis connects only here
    except Exception as error:  # noqa: BLE001  each transport has its own
        return why(url, error, needed=needed)
    return None


def why(url: str, error: BaseException, *, needed: bool = False) -> str:
    """Say what is wrong with the broker at `url`, and what to do."""
    text = f"{type(error).__name__} {error}".lower()
    if any(word in text for word in ("auth", "access_refused", "access refused", "wrongpass", "password")):
        return f"The broker {shown(url)} refuses the user or the password; type --broker {_SHAPES}"
    if isinstance(error, KeyError | ValueError | ImportError | AttributeError):
        return f"{shown(url)!r} is not a broker that is known here; type --broker {_SHAPES}"
    reason = shortened(str(error.__cause__ or error), 120)
    instead = (
        f"type the one that the servers use: --broker {_SHAPES}" if needed else "leave --broker out for a private one"
    )
    return f"The broker {shown(url)} cannot be reached ({reason}); start it, or {instead}."
