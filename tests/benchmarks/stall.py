"""A server that stalls for 1 s in a 10 s run at a fixed rate: is the p99 what arithmetic says it must be?

    python tests/benchmarks/stall.py [--rounds 5]

During the stall requests go on arriving, evenly; the one that arrives u seconds into it waits 1 - u. Of a run of
T seconds a share of S/T meets the stall of S seconds, so the percentile p is S - (1 - p) T, as long as that is
positive: p99 = 0.9 s, p95 = 0.5 s. A generator that waits for an answer before it sends again sees one slow
request and calls its p99 fast (hey -c 1 -q is shown for that).
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from typing import cast

import uvloop

from contenders import Ours, hey_at, machine, percentile
from measuring import running
from taskdemo_cli.loadgen.protocol import Plan

RATE = 500
RUN_S = 10.0
STALL_S = 1.0
STALL_AT_S = 4.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Stalling(asyncio.Protocol):
    """Answers at once, but blocks the loop for STALL_S when STALL_AT_S have passed since the first request."""

    begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not Stalling.begun:
            Stalling.begun = True
            asyncio.get_running_loop().call_later(STALL_AT_S, time.sleep, STALL_S)
        self.transport.write(ANSWER)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Stalling, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    ours = Ours()
    seen: dict[str, list[tuple[float, ...]]] = {"corrected": [], "sent to done": [], "hey -c 1 -q": []}
    late = []
    try:
        for _ in range(options.rounds):
            for who in ("taskdemo", "hey"):
                with running(__file__, "serve", stdout=subprocess.PIPE) as server:
                    assert server.stdout
                    url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
                    if who == "hey":
                        figures = hey_at(url, RATE, RUN_S)
                        seen["hey -c 1 -q"].append((figures.p50, float("nan"), figures.p99))
                    else:
                        samples, _ = ours.fire(Plan(url=url, rate=RATE, count=int(RATE * RUN_S)))
                        late.append(ours.last.late)
                        for name, since in (("corrected", 1), ("sent to done", 2)):
                            times = sorted(sample[4] - sample[since] for sample in samples)
                            seen[name].append(tuple(percentile(times, share) for share in (0.5, 0.95, 0.99)))
    finally:
        ours.close()
    expected = [STALL_S - (1 - share) * RUN_S for share in (0.95, 0.99)]
    print(f"\n{RATE} requests/s for {RUN_S:.0f} s, a stall of {STALL_S:.0f} s; late sends per run: {late}")
    print(f"{'':16}{'p50 ms':>9}{'p95 s':>9}{'p99 s':>9}{'p99, it/arithmetic':>20}")
    print(f"{'arithmetic':16}{'':9}{expected[0]:9.3f}{expected[1]:9.3f}{1:20.3f}")
    for name, rows in seen.items():
        p50, p95, p99 = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:16}{p50 * 1e3:9.3f}{p95:9.3f}{p99:9.3f}{p99 / expected[1]:20.3f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    else:
        main()
