"""GET /ping and /ping/sync: what bystanders request, answered on the event loop and in a worker thread."""

from fastapi import APIRouter

from taskdemo_server.api.state import State


def router(_state: State) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()

    @routes.get("/ping", summary="Answer at once, on the event loop")
    async def ping() -> dict[str, str]:
        return {"message": "pong"}

    @routes.get("/ping/sync", summary="Answer at once, from a worker thread")
    def ping_sync() -> dict[str, str]:
        return {"message": "pong"}

    return routes
