"""An application in an application."""

import time

from fastapi import FastAPI

site = FastAPI()
admin = FastAPI()
site.mount("/admin", admin)


@admin.get("/report")
async def report() -> str:
    time.sleep(0.2)
    return "done"


app = site
