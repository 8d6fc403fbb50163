"""Figures as people write them: seconds with the unit that fits, shares, counts with their noun."""


def format_seconds(seconds: float) -> str:
    """Return a time with two or three figures: 850 µs, 4.1 ms, 1.02 s, 125 s."""
    if seconds < 0:
        return "-" + format_seconds(-seconds)
    for limit, factor, unit in ((0.9995e-3, 1e6, "µs"), (0.9995, 1e3, "ms")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.{1 if value < 9.95 else 0}f} {unit}".replace(".0 ", " ")
    return f"{seconds:.{2 if seconds < 9.995 else 1 if seconds < 99.95 else 0}f} s"


def format_share(share: float) -> str:
    """Return a share of 1 in percent: 0.4 %, 12 %."""
    percent = 100 * share
    return f"{percent:.{1 if 0 < percent < 9.95 else 0}f} %"


def format_count(count: float, noun: str = "") -> str:
    """Return `1 task`, `12,345 tasks`, `8.1`."""
    shown = f"{count:,.0f}" if count >= 100 or count == int(count) else f"{count:.3g}"
    return f"{shown} {noun}{'' if count == 1 else 's'}" if noun else shown
