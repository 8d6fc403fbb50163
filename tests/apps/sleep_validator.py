"""A validator waits: a plain function, which FastAPI calls on the event loop."""

import time
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field, field_validator

app = FastAPI()


class Filter(BaseModel):
    tag: str = Field("new", validate_default=True)

    @field_validator("tag")
    @classmethod
    def exists(cls, tag: str) -> str:
        time.sleep(0.15)
        return tag


@app.get("/")
async def search(query: Annotated[Filter, Query()]) -> str:
    return query.tag
