"""Computing in a plain `def`: worker threads share the interpreter with the event loop."""

import time

from fastapi import FastAPI

app = FastAPI()


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


@app.get("/")
def compute() -> str:
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        fib(18)
    return "done"
