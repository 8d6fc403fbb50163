"""An application that a function makes, with settings that have defaults."""

import time

from fastapi import FastAPI


def create_app(title: str = "Shop", debug: bool = False) -> FastAPI:
    made = FastAPI(title=title, debug=debug)

    @made.get("/")
    async def slow() -> str:
        time.sleep(0.2)
        return "done"

    return made
