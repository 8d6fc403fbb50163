"""An asyncio server for tests, that leaves no connection behind when it ends."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

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
