"""A scan: every endpoint of the user's own application, each judged by a burst of its own."""

from typing import Literal

from msgspec import Struct

from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.documents.run import Document, Summary


class EndpointRow(Struct, frozen=True, kw_only=True):
    """One operation of the user's own application: what a burst at it did to everybody else, or why there was none."""

    method: str
    path: str
    """As its OpenAPI document has it: `/items/{item_id}`."""
    target: str | None = None
    """What was asked for, with the example values of the document in it; None where it was not called."""
    skipped: str | None = None
    """Why it was not called."""
    summary: Summary | None = None
    """Of its burst; None where it was not called."""
    blocking: Blocking | None = None
    first: Blocking | None = None
    """What its first request did, where that alone held others up."""
    text: str = ""
    """One sentence that says what was seen."""


class ScanDocument(Document, frozen=True, kw_only=True):
    """Every endpoint of the user's own application, each judged by a short burst of its own."""

    kind: Literal["scan"] = "scan"
    app: str
    count: int
    """Requests of each burst at the most: of an endpoint that answers one after another, fewer."""
    endpoints: list[EndpointRow] = []
    verdict: str = ""
    """One sentence about all of them."""
    interrupted: bool = False
    started_at: str = ""
