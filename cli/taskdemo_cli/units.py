"""Parses and formats figures for people: times with a fitting unit, shares, sizes, rates, counts with their noun."""

import contextlib
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_PLAIN: Final = re.compile(r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,2})?")
IN_A_SECOND: Final = {"us": 1e6, "µs": 1e6, "μs": 1e6, "ms": 1e3, "s": 1.0}  # both micro signs
_LONGER: Final = {"m": 60.0, "min": 60.0, "h": 3600.0}


def read_plain(text: str) -> float:
    """Parse a number without a unit. Raises ValueError if it is not one."""
    if not _PLAIN.fullmatch(text := text.strip()):
        raise ValueError(f"{text[:40]!r} is not a number we can read")
    return float(text)


def read_seconds(text: str) -> float:
    """Parse a time such as `10`, `10s`, `500ms` or `2m` into seconds. Raises ValueError if it is not one."""
    text = text.strip()
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzµμ")
    unit = text[len(number) :] or "s"
    if unit in _LONGER:
        return read_plain(number) * _LONGER[unit]
    if unit in IN_A_SECOND:
        return read_plain(number) / IN_A_SECOND[unit]
    raise ValueError(f"{text[:40]!r} is not a number we can read")


def read_whole(text: str) -> int:
    """Parse a whole number. Raises ValueError if it is not one."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text := text.strip()):
        raise ValueError(f"{text[:40]!r} is not a number we can read")
    return int(text)


def format_seconds(seconds: float) -> str:
    """Return a time with two or three significant digits: 850 µs, 4.1 ms, 1.02 s, 125 s."""
    if seconds < 0:
        return "-" + format_seconds(-seconds)
    for limit, factor, unit in ((0.9995e-3, 1e6, "µs"), (0.9995, 1e3, "ms")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.{1 if value < 9.95 else 0}f} {unit}".replace(".0 ", " ")
    return f"{seconds:.{2 if seconds < 9.995 else 1 if seconds < 99.95 else 0}f} s"


def told_apart(values: Sequence[float], format_: Callable[[float], str]) -> list[str]:
    """Format these values; if different values would look the same, add decimals until they differ.

    Values with different units keep the usual format.
    """
    written = [format_(value) for value in values]
    units = {text.partition(" ")[2] for text in written}
    if len(set(written)) == len(set(values)) or len(units) > 1:
        return written
    unit = units.pop()
    factor = {"%": 100.0, "µs": 1e6, "ms": 1e3}.get(unit, 1.0)
    exact = ([f"{value * factor:.{decimals}f} {unit}".rstrip() for value in values] for decimals in range(1, 10))
    return next((texts for texts in exact if len(set(texts)) == len(set(values))), written)


def format_share(share: float) -> str:
    """Return a share from 0 to 1 in percent: 0.4 %, 12 %; a small one such as 0.02 % is not rounded to zero."""
    percent = 100 * share
    if 0 < percent < 0.05:
        return f"{percent:.1g} %"
    return f"{percent:.{1 if 0 < percent < 9.95 else 0}f} %"


def format_bytes(count: int) -> str:
    """Return a size with two or three significant digits: 950 B, 4.1 kB, 12 MB."""
    size, units = float(count), ["B", "kB", "MB", "GB"]
    while size >= 999.5 and len(units) > 1:
        size, _ = size / 1000, units.pop(0)
    return f"{size:.{1 if size < 9.95 and size != int(size) else 0}f} {units[0]}"


def format_count(count: float, noun: str = "") -> str:
    """Return a count with its noun, if any: `1 task`, `12,345 tasks`, `8.1`."""
    shown = f"{count:,.0f}" if count >= 100 or count == int(count) else f"{count:.3g}"
    return f"{shown} {noun}{'' if count == 1 else 's'}" if noun else shown


def format_list(names: Iterable[str]) -> str:
    """Return one or more names as people list them: `a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def format_were(count: int, noun: str = "") -> str:
    """Return a count with its noun, if any, and verb: `1 task was`, `12,345 were`."""
    return f"{format_count(count, noun)} {'was' if count == 1 else 'were'}"


def format_all(count: int, noun: str = "") -> str:
    """Return `the task` for 1, `both tasks`, `all 12,345 tasks`; without a noun `both` or `all 12,345`."""
    shown = {1: "the", 2: "both"}.get(count, f"all {count:,}")
    return f"{shown} {noun}{'' if count == 1 else 's'}" if noun else shown


def format_rate(per_second: float) -> str:
    """Return a rate with up to three significant digits: 9.6/s, 392/s, 1,570/s."""
    per_second = round(per_second, 3) + 0.0  # turns -0.0 into 0.0
    size = abs(per_second)
    return f"{float(f'{per_second:.3g}'):,.0f}/s" if size >= 100 else f"{per_second:.{2 if size < 0.995 else 3}g}/s"


def format_exit(code: int) -> str:
    """Return how a process ended, by its exit code as Python gives it: `exit 3`, `SIGKILL` for -9."""
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit {code}"
