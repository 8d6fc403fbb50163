"""An asyncio server for tests, in a thread if wanted, that leaves no connection behind when it ends."""

import asyncio
import contextlib
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BACKLOG = 2048
TURNS = 10
"""Turns of the loop within which a connection that was accepted has its talk."""


@contextlib.asynccontextmanager
async def listening(
    talk: Talk, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[asyncio.Server]:
    """Serve every connection with a task of `talk`, on a free port of `host`."""
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

    server = await asyncio.start_server(one, host, 0, ssl=tls, backlog=BACKLOG)
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


class InThread(ABC):
    """Such a server in a thread of its own, which has every connection by `talk`."""

    PATIENCE_S = 60.0

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._tls = tls
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    @abstractmethod
    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes on one connection."""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(self.PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._end.set_result, None)
        self._thread.join(self.PATIENCE_S)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._end: asyncio.Future[None] = self.loop.create_future()
        async with listening(self.talk, tls=self._tls) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._end
