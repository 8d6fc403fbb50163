"""The code to paste, for each mode: its page, with the reader's own function in place of `slow_work`.

The page is the file that was run and measured; only its docstring, and the import and the name of `slow_work`, change.
"""

import ast
import itertools
import re
import sys
import textwrap
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from taskdemo_server.contract.modes import MODE_BY_NAME, Mode

_WIDTH: Final = 79


@dataclass(frozen=True, slots=True)
class Function:
    """The function that the endpoint is to run, as `taskdemo` found it."""

    name: str
    """`module:function`, or a built-in work, whose code stands in for the reader's own."""
    is_async: bool = False
    takes_message: bool = True
    duration_s: float = 1.0


def code(mode_name: str, function: Function) -> str:
    """Return a complete file for a mode, which runs as it is. Raises KeyError for an unknown mode."""
    mode = MODE_BY_NAME[mode_name]
    package, _, page = mode.page.rpartition(".")
    source = files(package).joinpath(f"{page}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    docstring = tree.body[0]
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    [ours] = [node for node in imports if isinstance(node, ast.ImportFrom) and node.module == "taskdemo_server.work"]
    lines = source.splitlines()
    placeholder = ours.names[0].name
    taken = {"asyncio", "time"} | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    taken |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    taken |= {one.asname or one.name for node in imports for one in node.names}
    name, own, definition = _work(function, placeholder, taken, awaited=mode.awaits)
    needed = [f"import {one}" for one in ("asyncio", "time") if f"{one}." in definition]
    stdlib = [line for line in lines[docstring.end_lineno : ours.lineno - 1] if line]
    others = [line for line in stdlib if line.split()[1].partition(".")[0] not in sys.stdlib_module_names]
    stdlib = sorted({*stdlib, *needed} - {*others}, key=lambda line: (line.startswith("from "), line))
    below = "\n".join(lines[imports[-1].end_lineno :]).strip("\n")
    if name != placeholder:
        below = re.sub(rf"\b{placeholder}\b", name, below)
    module = "server" if re.match(r"main[.:]", function.name) else "main"
    about = "\n".join([*textwrap.wrap(f'"""{mode.expect}', _WIDTH), "", *_how_to_run(mode, module), '"""'])
    head = "\n\n".join("\n".join(block) for block in (stdlib, others, own) if block)
    gap = "\n\n\n" if definition or not below.startswith(("app", "broker")) else "\n\n"
    return "".join([about, "\n\n", head, *(("\n\n\n", definition) if definition else ()), gap, below, "\n"])


def _how_to_run(mode: Mode, module: str) -> list[str]:
    lines = [f"{module}.py; run it with:  uvicorn {module}:app"]
    if (engine := mode.engine) is not None:
        # Without the command's options, which only change how soon it is ready and what it prints.
        worker = itertools.takewhile(lambda word: not word.startswith("--"), engine.command("2", "hello"))
        commands = {"once, at first": engine.once.split(), "the worker": worker}
        own = f"{engine.folder}.engine"
        lines += [f"{what}:  {' '.join(words).replace(own, module)}" for what, words in commands.items() if words]
        packages = " ".join(f'"{one}"' for one in engine.install)
        lines.append(f"both need:  pip install {packages}")
    return lines


def _work(function: Function, placeholder: str, taken: set[str], *, awaited: bool) -> tuple[str, list[str], str]:
    """Return the function's name in the file, the lines that import it, and its definition (empty if it needs none)."""
    module, colon, name = function.name.partition(":")
    if not colon:
        return placeholder, [], _define(placeholder, *_stand_in(function, awaited), awaited=awaited)
    is_as_wanted = function.takes_message and function.is_async == awaited
    called = name if name not in taken else placeholder if is_as_wanted else f"own_{name}"
    imports = [f"from {module} import {name}" + ("" if called == name else f" as {called}")]
    if is_as_wanted:
        return called, imports, ""
    call = f"{called}({'message' if function.takes_message else ''})"
    if function.is_async:
        call = f"await {call}" if awaited else f"asyncio.run({call})"
    elif awaited:
        call += "  # not awaited: it blocks the event loop until it returns"
    return placeholder, imports, _define(placeholder, f"return {call}", awaited=awaited, gives="object")


def _stand_in(function: Function, awaited: bool) -> list[str]:
    """Return the lines that stand in for the body of the reader's own function."""
    seconds = f"{function.duration_s:g}"
    if function.name == "cpu":
        return [
            "# In place of your own computation.",
            f"end = time.thread_time() + {seconds}",
            "while time.thread_time() < end:",
            "    sum(range(1000))",
        ]
    wait = f"await asyncio.sleep({seconds})" if awaited else f"time.sleep({seconds})"
    return [f"{wait}  # in place of your own work"]


def _define(name: str, *body: str, awaited: bool, gives: str = "None") -> str:
    lines = "\n".join(f"    {line}" for line in body)
    return f"{'async def' if awaited else 'def'} {name}(message: str) -> {gives}:\n{lines}"
