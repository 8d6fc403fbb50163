"""An answer so large that FastAPI is busy with it on the event loop."""

from fastapi import FastAPI

app = FastAPI()
ROWS = [{"id": number, "name": f"row {number}", "tags": ["a", "b"]} for number in range(15_000)]


@app.get("/")
async def rows():  # type: ignore[no-untyped-def]  # with a type, pydantic would do it at once
    return ROWS
