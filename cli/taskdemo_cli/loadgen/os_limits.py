"""How many connections this machine can open at once, given its open files and ports, and whether a plan fits."""

import contextlib
import math
import resource
from pathlib import Path
from typing import Final

from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan

SPARE_FILES: Final = 64
_ENOUGH_FILES: Final = 1_000_000
_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def raise_file_limit() -> int:
    """Raise this process's limit on open files as far as allowed and return it; later child processes inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    for limit in (allowed, 10_240):  # macOS reports "unlimited" but grants only OPEN_MAX
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return limit
    return soft


def most_connections() -> int:
    """Raise the limit on open files, and return how many connections this process can have to one address."""
    return min(_files(), _ephemeral_ports())


def check_os_limits(plan: Plan) -> None:
    """Raise the limit on open files; raise UserError if this machine still cannot open the plan's connections.

    Only a closed loop can ask for too many. An open loop opens connections as it needs them; when it cannot open
    more, requests wait and are counted as late.
    """
    if plan.rate is not None:
        return
    wanted = min(plan.concurrency or plan.count or 1, plan.count or math.inf)
    for most, whose, remedy in (
        (_files(), "limit of open files allows", f"raise the limit first: ulimit -Hn {wanted + SPARE_FILES} (as root)"),
        (_ephemeral_ports(), "local ports allow", "widen net.ipv4.ip_local_port_range with sysctl (as root)"),
    ):
        if wanted > most:
            raise UserError(
                f"{wanted} connections at once exceed the {most} that this machine's {whose}; "
                f"type --concurrency {most}, or {remedy}"
            )


def _files() -> int:
    return max(raise_file_limit() - SPARE_FILES, 1)


def _ephemeral_ports() -> int:
    try:
        low, high = _PORT_RANGE.read_text().split()
    except (OSError, ValueError):  # not Linux: IANA's range, which macOS uses
        low, high = "49152", "65535"
    return int(high) - int(low) + 1
