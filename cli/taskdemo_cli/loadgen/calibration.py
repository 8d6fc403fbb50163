"""Measures the client's own share of a response time by repeating the run against a no-op server."""

import queue
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Batch, Done, Gone, Plan, Refused
from taskdemo_server.contract.child_process import Child

CALIBRATION_S: Final = 0.15
CALIBRATION_TIMEOUT_S: Final = 2.0


def calibrate(loader: Loader, plan: Plan, requests_per_s: float) -> float | None:
    """Return the client's own share of a response time in seconds (median); takes about 0.25 s.

    The load process, which must be idle, sends the plan's requests in the same pattern to a no-op server that answers
    them one by one at `requests_per_s`, the pace the run reached. Connections, queueing and the number of responses
    that arrive together are therefore the same as in the run. The no-op server reports how long it had each request;
    the rest of each response time was spent in the client (and in the kernel between the two).
    A very slow pace is sped up to stay within the time limit, which can only make the result larger. A small burst is
    repeated and the lowest median is taken, because other activity on the machine can only add time.
    Returns None on failure. The cost of TLS is not included.
    """
    callers = plan.concurrency or plan.count or 1
    if plan.rate is not None:
        count = max(1, min(plan.count or 10_000, int(CALIBRATION_S * plan.rate)))
        service_s = 0.0
    else:
        count = max(callers, int(CALIBRATION_S * requests_per_s))
        count = min(count, plan.count or count)
        service_s = min(1 / requests_per_s if requests_per_s else 1.0, CALIBRATION_S / count)
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("noop_server.py")), repr(service_s)]
    server = Child(command, says_ready=True)
    medians: list[float] = []
    try:
        port = int(server.await_ready_line(CALIBRATION_TIMEOUT_S))
        url = f"http://127.0.0.1:{port}/"
        again = replace(plan, url=url, count=count, for_s=None, timeout_s=CALIBRATION_TIMEOUT_S, request_timeout_s=None)
        end = time.monotonic() + CALIBRATION_S
        while not medians or time.monotonic() < end:
            if not (shares := _shares(loader, again)):
                break
            medians.append(max(0.0, statistics.median(shares)))
    except (ValueError, queue.Empty):
        return None
    finally:
        server.end()
    return min(medians, default=None)


def _shares(loader: Loader, plan: Plan) -> list[float]:
    """Send the plan to the no-op server and return each response time less the server's own time, in seconds."""
    shares: list[float] = []
    loader.run(plan)
    while True:
        _, frame = loader.frames.get(timeout=2 * CALIBRATION_TIMEOUT_S)
        match frame:
            case Batch(samples):
                for _, _, sent, _, done, status, _, stamps, _ in samples:
                    if status == 200 and sent is not None and stamps is not None:
                        came, answered = map(float, stamps.split())
                        shares.append((done - sent) - (answered - came))
            case Done() | Gone() | Refused():
                return shares
