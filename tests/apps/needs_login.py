"""Without a token, the endpoint is never called."""

import time
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer

app = FastAPI()


@app.get("/")
async def orders(token: Annotated[str, Depends(OAuth2PasswordBearer("token"))]) -> str:
    time.sleep(0.3)
    return token
