"""At a fixed rate of half the server's capacity: our open loop beside hey -q.

    python tests/benchmarks/open_loop.py [--rounds 9]

Two servers: an endpoint that computes for 2 ms, where hey's report (0.1 ms fine) can tell 10 %, and one that does
nothing, whose answers take about as long as hey's last digit. The capacity is measured first, with 20 callers.
"""

import argparse
from functools import partial

from contenders import Figures, Ours, alternate, hey_at, machine, percentile, serving
from taskdemo_cli.loadgen.protocol import Plan

SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(machine())
    ours = Ours()
    late: list[int] = []

    def open_loop(url: str, rate: float, *, corrected: bool) -> Figures:
        samples, wall = ours.fire(Plan(url=url, rate=rate, count=int(rate * SECONDS)))
        late.append(ours.last.late)
        times = sorted(s[4] - (s[1] if corrected else s[2]) for s in samples)
        return Figures(len(samples) / wall, percentile(times, 0.5), percentile(times, 0.99))

    try:
        for kind, title in (("busy", "2 ms of computing"), ("noop", "an endpoint that does nothing")):
            with serving(kind) as url:
                rate = float(int(max(ours(url, 600 if kind == "busy" else 6000, 20).rate for _ in range(3)) / 2))
                late.clear()
                seen = alternate(
                    {
                        "taskdemo, sent to done": partial(open_loop, url, rate, corrected=False),
                        "taskdemo, planned to done": partial(open_loop, url, rate, corrected=True),
                        "hey -c 1 -q": partial(hey_at, url, rate, SECONDS),
                    },
                    options.rounds,
                )
            print(f"\n{title}, {rate:.0f} requests/s for {SECONDS:.0f} s; late sends per run: {sorted(late)}")
            print(f"{'':26}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'p50, it/hey':>13}")
            for name, f in seen.items():
                ratio = f.p50 / seen["hey -c 1 -q"].p50
                print(f"{name:26}{f.rate:11.0f}{f.p50 * 1e3:9.3f}{f.p99 * 1e3:9.3f}{ratio:13.2f}")
    finally:
        ours.close()


if __name__ == "__main__":
    main()
