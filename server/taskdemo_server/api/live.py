"""GET /live: the page that follows this server in a browser, one file with its own style and script.

A browser cannot send a token when it opens the page, so the page is open and the same for everybody: it holds public
facts about the modes and nothing about this server. Its script requests the rest, with the token from the URL's `#`
fragment, which no browser sends anywhere. Its Content-Security-Policy runs only its own script, allows requests only to
this server, keeps text from becoming markup, and stops other pages from framing it (clickjacking).
"""

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from taskdemo_server.api.state import State
from taskdemo_server.contract import drawing
from taskdemo_server.contract.modes import MODES

_OWN: Final = (
    ("elsewhere", "sent elsewhere, its work runs: when it was sent is unknown here"),
    ("kept", "not sent yet: waiting for a connection"),
)
"""The kinds that a report lacks: what only a browser does, and what a browser cannot know."""


def router(_state: State) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.get("/live", include_in_schema=False)
    async def live() -> HTMLResponse:
        text, policy = _page()
        headers = {
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(text, headers=headers)

    return routes


@cache
def _page() -> tuple[str, str]:
    """Return the page and its Content-Security-Policy."""
    legend = (*((kind, words) for kind, words in drawing.LEGEND if kind != "open"), *_OWN)
    marks = "".join(f'<li data-kind="{kind}" hidden>{drawing.key(kind)} {words}</li>' for kind, words in legend)
    facts: dict[str, Any] = {
        "lane": drawing.LANE,
        "heldUp": drawing.HELD_UP_S,
        "modes": {
            mode.name: {
                "expect": mode.expect,
                "endpoint": mode.endpoint,
                "runs": mode.runs,
                "first": mode.answers_first,
                "awaits": mode.awaits,
            }
            for mode in MODES
        },
    }
    text = files(__package__).joinpath("live.html").read_text(encoding="utf-8")
    text = text.replace("/* drawing */", drawing.STYLE, 1).replace("<!-- legend -->", marks, 1)
    text = text.replace('"facts"', json.dumps(facts), 1)
    policy = (
        f"default-src 'none'; script-src {_hash('script', text)}; style-src {_hash('style', text)};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    )
    return text, policy


def _hash(tag: str, text: str) -> str:
    [piece] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(piece.encode()).digest()).decode()}'"
