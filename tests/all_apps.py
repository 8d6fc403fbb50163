"""The small applications of tests/apps in four, each under its name there: four scans ask nearly all of them."""

import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

APPS = Path(__file__).parent / "apps"
FIRED = {"cpu_regex_thread", "cpu_threads", "cpu_to_thread", "needs_query", "short_pieces", "threads_used_up"}
"""No row of the table has them scanned."""
ALONE = {"garbage", "own_thread", "own_ticker", "never_answers", "postgres_deadlock"}
"""Nor these: the first three disturb all others of their process, the last two take until a scan gives them up."""


def site(stems: list[str]) -> FastAPI:
    mounted: dict[str, FastAPI] = {}
    for stem in stems:
        found = getattr(importlib.import_module(stem), "app", None)
        if isinstance(found, FastAPI):
            mounted[stem] = found

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in mounted.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    made = FastAPI(lifespan=lifespan)
    for stem, app in mounted.items():
        made.mount(f"/{stem}", app)
    return made


sys.path.insert(0, str(APPS))
HANGS = "deadlock_loop"
"""The one that leaves its server hanging comes last, among those that are the quickest."""
names = sorted({path.stem for path in APPS.glob("[!_]*.py")} - FIRED - ALONE - {HANGS})


def first() -> FastAPI:
    return site([*names[0::4], HANGS])


def second() -> FastAPI:
    return site(names[1::4])


def third() -> FastAPI:
    return site(names[2::4])


def fourth() -> FastAPI:
    return site(names[3::4])
