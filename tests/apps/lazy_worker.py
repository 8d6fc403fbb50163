"""The first request starts threads that do what is put into a queue, and wait there for more: right."""

import asyncio
import queue
import threading

from fastapi import FastAPI

app = FastAPI()
mails: queue.SimpleQueue[str] = queue.SimpleQueue()
workers: list[threading.Thread] = []


def work() -> None:
    while True:
        mails.get()


@app.get("/")
async def mail() -> str:
    if not workers:
        workers.extend(threading.Thread(target=work, daemon=True) for _ in range(4))
        for worker in workers:
            worker.start()
    mails.put("hello")
    await asyncio.sleep(0.3)
    return "queued"
