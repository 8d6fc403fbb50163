"""One long call that keeps the interpreter for itself, in a plain `def`: a regular expression that tries everything."""

import re

from fastapi import FastAPI

app = FastAPI()
TEXT = "a" * 23


@app.get("/")
def compute() -> str:
    return "found" if re.match(r"(a+)+b", TEXT) else "not found"
