"""Only an engine's own folder, and the registry, name it: a new engine is one folder and one entry."""

import re
from pathlib import Path

from taskdemo_server.contract.modes import MODES

ROOT = Path(__file__).parents[2]
REGISTRY = ROOT / "server/taskdemo_server/contract/modes.py"


def test_nothing_outside_an_engines_folder_and_the_registry_names_it() -> None:
    engines = [mode.engine for mode in MODES if mode.engine is not None]
    own = [ROOT / "server" / engine.folder.replace(".", "/") for engine in engines]
    word = re.compile(rf"\b({'|'.join([*(engine.packages[0] for engine in engines), 'kombu'])})\b", re.IGNORECASE)
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for wing in ("cli", "server")
        for path in sorted((ROOT / wing).rglob("*.py"))
        if path != REGISTRY and not any(path.is_relative_to(folder) for folder in own)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if word.search(line)
    ]
    assert named == []
