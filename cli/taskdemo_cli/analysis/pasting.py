"""The code to paste, for each mode: its page, with the reader's own function in place of `slow_work`.

The page is the file that was run and measured; only its import of `slow_work` is replaced, and the name.
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
    """The function that the endpoint is to run, as `taskdemo` has found it."""

    name: str
    """`module:function`, or a work that comes along: its code stands for the reader's own."""
    is_async: bool = False
    takes_message: bool = True
    duration_s: float = 1.0


def code(name: str, function: Function) -> str:
    """Return a whole file for a mode, which runs as it is. Raises KeyError for a mode that there is not."""
    mode = MODE_BY_NAME[name]
    package, _, module = mode.page.rpartition(".")
    source = files(package).joinpath(f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    docstring = tree.body[0]
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    [ours] = [node for node in imports if isinstance(node, ast.ImportFrom) and node.module == "taskdemo_server.work"]
    lines = source.splitlines()
    placeholder = ours.names[0].name
    taken = {"asyncio", "time"} | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    taken |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    taken |= {one.asname or one.name for node in imports for one in node.names}
    work = _Work(function, placeholder, taken, awaited=mode.awaits)
    stdlib = [line for line in lines[docstring.end_lineno : ours.lineno - 1] if line]
    others = [line for line in stdlib if line.split()[1].partition(".")[0] not in sys.stdlib_module_names]
    stdlib = sorted({*stdlib, *work.stdlib} - {*others}, key=lambda line: (line.startswith("from "), line))
    below = "\n".join(lines[imports[-1].end_lineno :]).strip("\n")
    if work.name != placeholder:
        below = re.sub(rf"\b{placeholder}\b", work.name, below)
    about = "\n".join([*textwrap.wrap(f'"""{mode.expect}', _WIDTH), "", *_how_to_run(mode, work.file), '"""'])
    head = "\n\n".join("\n".join(block) for block in (stdlib, others, work.imports) if block)
    gap = "\n\n\n" if work.definition or not below.startswith(("app", "broker")) else "\n\n"
    return "".join([about, "\n\n", head, *(("\n\n\n", work.definition) if work.definition else ()), gap, below, "\n"])


def _how_to_run(mode: Mode, file: str) -> list[str]:
    module = file.removesuffix(".py")
    lines = [f"{file}; run it with:  uvicorn {module}:app"]
    if (engine := mode.engine) is not None:
        # The command without its options, which are about how soon it is ready and what it prints.
        worker = itertools.takewhile(lambda word: not word.startswith("--"), engine.command("2", "hello"))
        commands = {"once, at first": engine.once, "the worker": worker}
        own = f"{engine.folder}.engine"
        lines += [f"{what}:  {' '.join(words).replace(own, module)}" for what, words in commands.items() if words]
        packages = " ".join(f'"{one}"' for one in engine.install)
        lines.append(f"both need:  pip install {packages}")
    return lines


class _Work:
    """How the function gets into the file, and what it is called there."""

    def __init__(self, function: Function, placeholder: str, taken: set[str], *, awaited: bool) -> None:
        module, colon, name = function.name.partition(":")
        self.file = "server.py" if colon and module.partition(".")[0] == "main" else "main.py"
        self.name = placeholder
        self.stdlib: list[str] = []
        self.imports: list[str] = []
        self.definition = ""
        if not colon:
            self._stand_in(function, awaited=awaited)
            return
        if function.takes_message and function.is_async == awaited:
            self.name = name if name not in taken else placeholder
            alias = "" if self.name == name else f" as {placeholder}"
            self.imports = [f"from {module} import {name}{alias}"]
            return
        called = name if name not in taken else f"own_{name}"
        self.imports = [f"from {module} import {name}" + ("" if called == name else f" as {called}")]
        call = f"{called}({'message' if function.takes_message else ''})"
        if function.is_async and awaited:
            call = f"await {call}"
        elif function.is_async:
            self.stdlib = ["import asyncio"]
            call = f"asyncio.run({call})"
        elif awaited:
            call += "  # not awaited: it blocks the event loop until it returns"
        self._define(f"return {call}", awaited=awaited, gives="object")

    def _stand_in(self, function: Function, *, awaited: bool) -> None:
        seconds = f"{function.duration_s:g}"
        if function.name == "cpu":
            self.stdlib = ["import time"]
            self._define(
                "# In place of your own computation.",
                f"end = time.thread_time() + {seconds}",
                "while time.thread_time() < end:",
                "    sum(range(1000))",
                awaited=awaited,
            )
        else:
            self.stdlib = ["import asyncio" if awaited else "import time"]
            wait = f"await asyncio.sleep({seconds})" if awaited else f"time.sleep({seconds})"
            self._define(f"{wait}  # in place of your own work", awaited=awaited)

    def _define(self, *body: str, awaited: bool, gives: str = "None") -> None:
        kind = "async def" if awaited else "def"
        lines = "\n".join(f"    {line}" for line in body)
        self.definition = f"{kind} {self.name}(message: str) -> {gives}:\n{lines}"
