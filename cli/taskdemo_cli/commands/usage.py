"""What is added to the sentence of an error in what was typed: where it came from, and what may have been meant."""

import os
import re
from collections.abc import Sequence
from typing import Any, Final

from taskdemo_cli.units import format_list

EXTRA: Final = re.compile(r"extra argument\S* \((\S+)\)")
"""What Click says of a single argument that the command does not take; its error has it nowhere else."""


def from_environment(command: str, arguments: Sequence[str], sentence: str) -> str:
    """Return a note that names the environment variables a sentence is about, without their values; empty if none."""
    prefix = f"{command.replace(' ', '_').upper()}_"
    named = []
    for variable, value in sorted(os.environ.items()):
        option = f"--{variable.removeprefix(prefix).lower().replace('_', '-')}"
        given = any(word.partition("=")[0] == option for word in arguments)
        if variable.startswith(prefix) and not given and (option in sentence or f"'{value}'" in sentence):
            named.append(variable)
    return f" (from the environment: {', '.join(named)})" if named else ""


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
        option = "--url" if "://" in extra[1] else "--path" if extra[1].startswith("/") else "--app"
        return f"; did you mean {option} {extra[1]}?" if option in _options_of(context.command) else ""
    return ""


def _options_of(command: Any) -> list[str]:
    return [name for param in command.params for name in param.opts]
