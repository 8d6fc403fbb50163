"""A scan: every endpoint of the user's own application, each judged by a burst of its own."""

from typing import Literal

from msgspec import Struct

from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.documents.run import Document, Summary


class EndpointRow(Struct, frozen=True, kw_only=True):
    """One operation of the user's own application: the findings of its burst, or why there was none."""

    method: str
    path: str
    """As in its OpenAPI document: `/items/{item_id}`."""
    target: str | None = None
    """The requested path, with the document's example values; None if it was not called."""
    skipped: str | None = None
    """Why it was not called."""
    summary: Summary | None = None
    """The figures of its burst; None if it was not called."""
    blocking: Blocking | None = None
    first: Blocking | None = None
    """The verdict on its first request, if that alone held others up."""
    text: str = ""
    """The findings, in words."""


class ScanDocument(Document, frozen=True, kw_only=True):
    """Every endpoint of the user's own application, each judged by a short burst of its own."""

    kind: Literal["scan"] = "scan"
    app: str
    count: int
    """The most requests in a burst; fewer at an endpoint that answers one at a time."""
    endpoints: list[EndpointRow] = []
    verdict: str = ""
    """One sentence about all of them."""
    interrupted: bool = False
    started_at: str = ""
