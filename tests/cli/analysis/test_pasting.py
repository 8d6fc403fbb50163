"""The code that a recommendation gives runs as it is pasted, in every mode that needs no engine."""

import ast
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pasted import answer, done, served, snippet
from taskdemo_cli.analysis import pasting
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES
from waiting import until

LOCAL = [mode.name for mode in MODES if mode.engine is None]
CASES = [
    *((mode, pasting.Function("reports:build"), "build hello\n") for mode in LOCAL),
    *(
        (mode, pasting.Function("reports:fetch", is_async=True), "build hello\n")
        for mode in ("async", "background-async", "process")
    ),
    ("background", pasting.Function("reports:start", takes_message=False), "build nothing\n"),
]


@pytest.mark.parametrize(("mode", "function", "does"), CASES)
def test_the_pasted_endpoint_runs_as_it_is(tmp_path: Path, mode: str, function: pasting.Function, does: str) -> None:
    snippet(tmp_path, mode, function)
    with served(tmp_path, anew=mode == "process") as url:
        assert answer(f"{url}/?message=hello") == {"message": "Hello World!"}
        until(lambda: done(tmp_path) == does, 30)


@pytest.mark.parametrize("work", ["sleep", "cpu"])
@pytest.mark.parametrize("mode", MODE_BY_NAME)
def test_a_work_that_comes_along_is_replaced_by_a_whole_function(mode: str, work: str) -> None:
    code = pasting.code(mode, pasting.Function(work, duration_s=0.5))
    compile(code, "main.py", "exec")
    assert "slow_work" in code
    assert "0.5" in code
    assert max(map(len, code.splitlines())) < 80


def brought_by(wanted: Requirement) -> set[str]:
    """Return the distributions that come with a requirement and with those that it has itself."""
    found = {wanted.name.lower()}
    for text in metadata.requires(wanted.name) or ():
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in {"", *wanted.extras}):
            found |= brought_by(one)
    return found


@pytest.mark.parametrize("mode", [mode.name for mode in MODES if mode.engine is not None])
def test_what_a_file_says_to_install_is_all_that_it_imports(mode: str) -> None:
    pytest.importorskip(MODE_BY_NAME[mode].engine.packages[0])  # type: ignore[union-attr]  # it has one
    code = pasting.code(mode, pasting.Function("reports:build"))
    line = re.search("pip install (.+)", code)
    assert line is not None
    brought = {"fastapi", *(name for word in shlex.split(line[1]) for name in brought_by(Requirement(word)))}
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes]
    imported = {name.partition(".")[0] for name in named} - sys.stdlib_module_names - {"reports"}
    providers = metadata.packages_distributions()
    assert {name for name in imported if brought.isdisjoint(map(str.lower, providers[name]))} == set()


@pytest.mark.parametrize("name", ["dict", "str", "hello", "app", "FastAPI", "asyncio", "time"])
@pytest.mark.parametrize("mode", MODE_BY_NAME)
def test_a_function_of_any_name_hides_nothing_that_the_pasted_file_needs(mode: str, name: str) -> None:
    code = pasting.code(mode, pasting.Function(f"works:{name}"))
    tree = ast.parse(code)
    bound = [one.asname or one.name for node in tree.body if isinstance(node, ast.ImportFrom) for one in node.names]
    bound += [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert len(bound) == len(set(bound))
    assert not {*bound} & {"dict", "str"}
