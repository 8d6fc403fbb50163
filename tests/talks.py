"""The scripted server of the tests, in the loop or in a thread, and what it may do with a request: all below HTTP.

It leaves no connection behind when it ends.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Self

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

BACKLOG = 2048
TURNS = 10
"""Turns of the loop within which a connection that was accepted has its talk."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def listening(
    talk: Talk, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[asyncio.Server]:
    """Serve every connection with a task of `talk`, on a free port of `host` unless one is given."""
    talks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        writers.add(writer)
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            talks.discard(task)
            writers.discard(writer)

    server = await asyncio.start_server(one, host, port, ssl=tls, backlog=BACKLOG)
    try:
        yield server
    finally:
        # asyncio forgets to close a connection that it has just accepted when the server closes (3.11), and a task that
        # is cancelled before it began would not close its own: so first nobody is accepted any more, and all begin.
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(TURNS):
            await asyncio.sleep(0)
        server.close()
        for task in talks:
            task.cancel()
        for writer in writers:  # one that is closing may wait for a farewell, or for its last bytes to be taken
            writer.transport.abort()
        await asyncio.gather(*talks, return_exceptions=True)


class Scripted:
    """Such a server in a thread of its own, which can vanish and come back at its port."""

    PATIENCE_S = 60.0

    def __init__(self, talk: Talk, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._talk = talk
        self._tls = tls
        self._listening = contextlib.AsyncExitStack()
        self._thread = threading.Thread(target=self.loop.run_forever)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.appear()
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(self.PATIENCE_S)
        self.loop.close()

    def appear(self) -> None:
        async def appear() -> None:
            listens = listening(self._talk, port=self.port, tls=self._tls)
            server = await self._listening.enter_async_context(listens)
            self.port = server.sockets[0].getsockname()[1]

        self._await(appear())

    def vanish(self) -> None:
        self._await(self._listening.aclose())

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(self.PATIENCE_S)


def by_path(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[object]]) -> Talk:
    """Answer each request of a connection, whose path is given."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer, head.split()[1].decode().partition("?")[0])

    return talk


def saying(answer: bytes) -> Talk:
    """Answer every request so."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        writer.write(answer)

    return by_path(say)


def stranger(answer: Talk) -> Talk:
    """Be none of ours, and treat every other request so."""

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        if path == "/health":
            writer.write(NOT_FOUND)
        else:
            await answer(reader, writer)

    return by_path(treat)


def after(seconds: float) -> Talk:
    """Answer, as slowly as that."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(OK)

    return answer


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)
