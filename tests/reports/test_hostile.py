"""Text of every kind in a result: none of it steers a terminal."""

import functools
import json
import re
from collections.abc import Container
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import ValidationError
from rich.cells import cell_len
from rich.console import RenderableType

import samples
from reviewed import printed
from samples import typed
from strategies import hostile
from taskdemo_cli.reports.terminal.documents import drawing
from test_page import advised

DOCUMENTS = {**samples.all_documents(), "advised": advised()}


def with_texts(value: Any, text: str, keys: Container[str], key: str = "") -> Any:
    """Replace every text of the fields that are named so."""
    if isinstance(value, dict):
        return {name: with_texts(item, text, keys, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, text, keys, key) for item in value]
    return text if isinstance(value, str) and key in keys else value


@functools.cache
def free_fields(name: str) -> Container[str]:
    """The fields of a document that can hold any text; in the others the program itself chooses from few."""
    document = samples.saved(DOCUMENTS[name])
    fields = set(re.findall(r'"(\w+)": \[*"', json.dumps(document)))
    return {field for field in fields if can_be_read(with_texts(document, samples.HOSTILE, {field}))}


def can_be_read(document: Any) -> bool:
    try:
        typed(document)
    except (ValidationError, UnicodeEncodeError, KeyError):
        return False
    return True


def drawn(name: str, text: str) -> RenderableType:
    """The report of a document in which every text from outside, and every name of a mode or a limit, is this one."""
    document = with_texts(samples.saved(DOCUMENTS[name]), text, free_fields(name))
    if name == "capacity":
        document["modes"] = {text: document["modes"]["background"]}
    if name == "limits":
        document["modes"] = {text: {text: {"verdict": "no", "measured": {"figure": text}, "text": text}}}
    return drawing(typed(document))


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=5, deadline=None)
@given(text=hostile, width=st.sampled_from([60, 80, 120]))
@example(text="x" * 10_000, width=60)
@example(text=samples.HOSTILE, width=80)
def test_no_text_reaches_the_terminal_but_as_visible_text_that_fits(name: str, text: str, width: int) -> None:
    lines = printed(drawn(name, text), width).split("\n")
    for line in lines:
        assert line.isprintable()
        assert cell_len(line) <= width
    assert text != samples.HOSTILE or any("[bold]rich[/bold]" in line for line in lines), "it is no markup of rich's"
