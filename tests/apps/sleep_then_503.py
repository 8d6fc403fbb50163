"""An endpoint that blocks, and then fails."""

import time

from fastapi import FastAPI, HTTPException

app = FastAPI()


@app.get("/")
async def overloaded() -> None:
    time.sleep(0.3)
    raise HTTPException(503)
