"""Texts, events and lines of every kind, for Hypothesis."""

import json

from hypothesis import strategies as st

import samples
from taskdemo_server.contract.events import TaskEvent

WORST = [
    samples.HOSTILE,
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x9b31m\x90q\x9c",
    "\u2066\u202e\u200b\u2028\u2029\ufeff",
    "[/] [bold] [link=file:///etc] :smile: \\[",
    "\r\n\0\x08\x7f\t",
    "\udfff\ud800\U000e0001\ue000",
    "<b>&amp;'\"</b>",
    "e\u0301\u0301\u0301 \U0001f468\u200d\U0001f469 \uff57\uff49\uff44\uff45",
]
hostile = st.one_of(st.sampled_from(WORST), st.text(st.characters(), max_size=60))  # Surrogates too.
states = st.sampled_from(["accepted", "started", "finished", "failed", "cancelled", "lost"])
times = st.floats(0, 1e10).map(lambda value: round(value, 6))
events = st.builds(
    TaskEvent,
    id=st.text("0123456789abcdef", min_size=1, max_size=16),
    state=states,
    at=times,
    clock=times,
    mode=hostile,
    host=hostile,
    pid=st.integers(0, 1 << 31),
    thread=hostile,
    message=st.none() | hostile,
    error=st.none() | hostile,
    output=st.none() | hostile,
    cpu_s=st.none() | times,
    queued_s=st.none() | times,
    ref=st.none() | hostile,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "state", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
nearly = st.fixed_dictionaries(
    {
        "id": values,
        "state": values | states,
        "at": values | times,
        "clock": values | times,
        "mode": values,
        "host": values,
        "pid": values | st.integers(),
        "thread": values,
    },
    optional={"message": values, "error": values, "output": values, "cpu_s": values, "queued_s": values, "ref": values},
).map(lambda fields: json.dumps(fields, separators=(",", ":")).encode())
foreign = st.one_of(nearly, st.binary(max_size=200), values.map(lambda value: json.dumps(value).encode())).map(
    lambda line: line.replace(b"\n", b"")
)
