"""A plan fired from this process at a scripted server: what is reported of each request."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import uvloop

from talks import Talk, listening
from taskdemo_cli.loadgen.engine import Run
from taskdemo_cli.loadgen.protocol import Batch, Frame, Plan, Sample

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


async def reported(plan: Plan) -> list[Sample]:
    """What the load process reports of each request of a plan, in the order of their numbers."""
    frames: list[Frame] = []
    await Run(plan, frames.append, connections=100).go()
    return sorted(sample for frame in frames if isinstance(frame, Batch) for sample in frame.samples)


def url_of(server: asyncio.Server, host: str = "127.0.0.1", *, secure: bool = False) -> str:
    port = server.sockets[0].getsockname()[1]
    return str(httpx.URL(scheme="https" if secure else "http", host=host, port=port, path="/"))


def fired(
    script: Talk,
    *,
    loop: LoopFactory = uvloop.new_event_loop,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    path: str = "",
    name: str | None = None,
    **plan: Any,
) -> list[Sample]:
    """Fire a plan at a server of this script, by another name of it where one is given."""

    async def fire() -> list[Sample]:
        async with listening(script, host=host, tls=tls) as server:
            url = url_of(server, name or host, secure=tls is not None)
            return await reported(Plan(url=url + path, **plan))

    return in_loop(fire(), loop)


def in_loop(work: Coroutine[Any, Any, list[Sample]], loop: LoopFactory = uvloop.new_event_loop) -> list[Sample]:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(asyncio.wait_for(work, 60))


def errors(samples: list[Sample]) -> list[str | None]:
    return [sample[6] for sample in samples]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*parts: bytes, close: bool = False, reset: bool = False) -> tuple[Talk, list[int]]:
    """A server that gives every request the same answer, in separate writes; the list counts its connections."""
    connections: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while True:
            await read_request(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.001)
            if reset:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            if close or reset:
                return

    return script, connections
