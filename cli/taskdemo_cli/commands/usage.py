"""What is added to the sentence of an error in what was typed: where it came from, and what may have been meant."""

import os
import re
from collections.abc import Sequence
from typing import Any, Final

from taskdemo_cli.commands.options import SHORT
from taskdemo_cli.units import format_list
from taskdemo_server.contract.modes import MODE_BY_NAME

EXTRA: Final = re.compile(r"extra argument\S* \((.+)\)")
"""What Click says of arguments that the command does not take; its error has them nowhere else."""


def from_environment(command: str, arguments: Sequence[str], sentence: str) -> str:
    """Return a note that names the environment variables a sentence is about, without their values; empty if none."""
    prefix = f"{command.replace(' ', '_').upper()}_"
    named = []
    for variable, value in sorted(os.environ.items()):
        option = f"--{variable.removeprefix(prefix).lower().replace('_', '-')}"
        if not variable.startswith(prefix) or not value or _is_typed(option, arguments):
            continue
        is_named = re.search(rf"{re.escape(option)}(?![\w-])", sentence)  # --to is not part of --token
        if is_named or any(f"'{part.strip()}'" in sentence for part in (value, *re.split(r"[,\n]", value))):
            named.append(variable)
    return f" (from the environment: {', '.join(named)})" if named else ""


def _is_typed(option: str, arguments: Sequence[str]) -> bool:
    short = SHORT.get(option)
    return any(word.partition("=")[0] == option or (short and word.startswith(short)) for word in arguments)


def instead(error: Any, sentence: str) -> str:
    """Return, for the end of a usage error's sentence, what may have been meant; empty if nothing fits."""
    context, unknown, extra = error.ctx, getattr(error, "option_name", None), EXTRA.search(sentence)
    if context is not None and unknown is not None and not sentence.endswith("?"):
        commands = context.find_root().command.commands.values()
        others = [command.name for command in commands if unknown in _options_of(command)]
        if not others:
            return ""
        return f"; {format_list(others)} {'take' if len(others) > 1 else 'takes'} it"
    if context is not None and extra is not None:
        taken = [word for name in ("old", "new") if (word := context.params.get(name))]
        words = [*taken, *extra[1].split()]
        if command := of_modes(f"taskdemo {context.info_name}", words, _options_of(context.command)):
            return f"; type {command}"
        if " " in extra[1]:
            return ""
        option = "--url" if "://" in extra[1] else "--path" if extra[1].startswith("/") else "--app"
        return f"; did you mean {option} {extra[1]}?" if option in _options_of(context.command) else ""
    return ""


def of_modes(command: str, words: Sequence[str], options: Sequence[str]) -> str:
    """Return the command with these words as modes after its option; empty if one is no mode or no option fits."""
    if not all(word in {*MODE_BY_NAME, "all", "queues"} for one in words for word in one.split(",")):
        return ""
    if "--modes" in options:
        return f"{command} --modes {','.join(words)}"
    fits = "--mode" in options and len(words) == 1 and words[0] in MODE_BY_NAME
    return f"{command} --mode {words[0]}" if fits else ""


def _options_of(command: Any) -> list[str]:
    return [name for param in command.params for name in param.opts]
