"""The same with the driver's async connection: right."""

import psycopg
from fastapi import FastAPI

app = FastAPI()
DATABASE = "host=127.0.0.1 user=postgres dbname=postgres connect_timeout=5"


@app.get("/")
async def orders() -> int:
    async with await psycopg.AsyncConnection.connect(DATABASE) as connection:
        await connection.execute("select pg_sleep(0.2)")
    return 1
