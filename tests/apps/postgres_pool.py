"""An async pool with two connections for everybody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool

DATABASE = "host=127.0.0.1 user=postgres dbname=postgres connect_timeout=5"
pool = AsyncConnectionPool(DATABASE, min_size=2, max_size=2, open=False)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def orders() -> int:
    async with pool.connection() as connection:
        await connection.execute("select pg_sleep(0.1)")
    return 1
