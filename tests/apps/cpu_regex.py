"""One long call into C, which keeps the interpreter for itself: an expression that backtracks."""

import re

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def check(text: str = "a" * 22 + "!") -> bool:
    return re.match(r"(a+)+$", text) is not None
