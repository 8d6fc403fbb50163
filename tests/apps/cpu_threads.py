"""Computing in a plain `def`: worker threads share the interpreter with the event loop."""

from fastapi import FastAPI

app = FastAPI()


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


@app.get("/")
def compute() -> int:
    return fib(25)
