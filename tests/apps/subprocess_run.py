"""A program that is run, and waited for, on the event loop."""

import subprocess

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def convert() -> int:
    return subprocess.run(["sleep", "0.2"], check=True).returncode
