"""Every dependency has a lower bound, and the environment with the oldest versions has exactly these."""

import re
import tomllib
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OLDEST = ROOT / ".ci" / "oldest.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_ENGINES = [
    requirement
    for extra, requirements in PROJECT["optional-dependencies"].items()
    if extra not in {"queues", "dev"}
    for requirement in requirements
]
BOUNDS = {
    match[1].lower(): match[2]
    for requirement in [*PROJECT["dependencies"], *OF_ENGINES]
    if (match := re.match(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)", requirement))
}


def test_every_dependency_has_a_lower_bound() -> None:
    assert len(BOUNDS) == len(PROJECT["dependencies"]) + len(set(OF_ENGINES))


@pytest.mark.skipif(not OLDEST.exists(), reason="a source distribution holds no CI")
def test_the_oldest_environment_has_the_lower_bounds() -> None:
    pins = dict(line.split("==") for line in OLDEST.read_text().splitlines() if not line.startswith("#"))
    assert pins.keys() == BOUNDS.keys() | {"click"}  # the oldest Typer breaks with a newer Click than this
    for name, bound in BOUNDS.items():
        numbers = zip_longest(bound.split("."), pins[name].split("."), fillvalue="0")
        assert all(least == pinned for least, pinned in numbers), f"{name}: {bound} allowed, {pins[name]} tested"
