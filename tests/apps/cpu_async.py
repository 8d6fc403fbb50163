"""Computing in an `async def`."""

from fastapi import FastAPI

app = FastAPI()


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


@app.get("/")
async def compute() -> int:
    return fib(27)
