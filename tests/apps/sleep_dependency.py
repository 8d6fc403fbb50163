"""A dependency that waits on the event loop; the endpoint is innocent."""

import time
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


async def current_user() -> str:
    time.sleep(0.2)
    return "somebody"


@app.get("/")
async def me(user: Annotated[str, Depends(current_user)]) -> str:
    return user
