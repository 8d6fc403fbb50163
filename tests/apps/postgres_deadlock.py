"""A dependency takes a connection, and the endpoint a second one: enough callers, and each waits for the other."""

from collections.abc import Iterator
from typing import Annotated

import psycopg
from fastapi import Depends, FastAPI
from psycopg_pool import ConnectionPool

app = FastAPI()
DATABASE = "host=127.0.0.1 user=postgres dbname=postgres connect_timeout=5"
pool = ConnectionPool(DATABASE, min_size=1, max_size=5, timeout=60, open=True)


def session() -> "Iterator[psycopg.Connection]":
    with pool.connection() as connection:
        connection.execute("select pg_sleep(0.1)")
        yield connection


@app.get("/")
def orders(first: "Annotated[psycopg.Connection, Depends(session)]") -> int:
    with pool.connection() as second:
        second.execute("select 1")
    return 1
