"""Runs experiments of `taskdemo limits` for tests: real servers, and a screen that only remembers."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

import forked
from taskdemo_cli import limits
from taskdemo_cli.documents.limits import LIMITS, Cell, LimitsDocument
from taskdemo_cli.limits import trial
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import StopRequest

COMPUTES_S = 0.15
"""CPU seconds of each task that computes: half of what it is for people, and more than a wait that is held up."""


class Remembering:
    """A screen that remembers what it was told."""

    def __init__(self, on_done: Callable[[], None] = lambda: None) -> None:
        self.started: list[tuple[str, str]] = []
        self.found: dict[tuple[str, str], Cell] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self.skipped: dict[str, str] = {}
        self._on_done = on_done

    def start(self, mode: str, limit: str) -> None:
        self.started.append((mode, limit))

    def done(self, mode: str, limit: str, found: Cell) -> None:
        self.found[mode, limit] = found
        self._on_done()

    def fail(self, mode: str, limit: str, why: str) -> None:
        self.failed[mode, limit] = why

    def skip(self, mode: str, why: str) -> None:
        self.skipped[mode] = why


def run(
    folder: Path,
    modes: Sequence[str],
    names: Sequence[str] = LIMITS,
    screen: Remembering | None = None,
    stopping: StopRequest | None = None,
    broker: str | None = None,
) -> LimitsDocument:
    """Run the experiments, forking what they start, and see to it that they leave no process behind."""
    folder.mkdir(exist_ok=True)
    shown: Any = screen or Remembering()
    with forked.forking(), pytest.MonkeyPatch.context() as patient:
        patient.setattr(servers, "START_TIMEOUT_S", 120.0)  # many workers start at once
        patient.setattr(trial, "POLL_S", 0.04)  # many experiments at a time look for what other tests delay
        patient.setattr(limits, "AT_ONCE", 8)  # beside other tests
        for one in limits.ALONE:
            patient.setattr(sys.modules[one.__module__], "WORK_S", COMPUTES_S)
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        document = limits.run(modes, shown, stopping or StopRequest(), folder, limits=names, broker=broker)
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not left, f"left behind: {left}"
    return document


def verdicts(document: LimitsDocument) -> dict[str, dict[str, str]]:
    """Return {mode: {limit: verdict}}, after checking that every experiment was carried out."""
    assert not document.failed, document.failed
    assert document.skipped == [], document.skipped
    return {mode: {limit: cell.verdict for limit, cell in cells.items()} for mode, cells in document.modes.items()}
