"""Our load process beside hey and wrk.

    python tests/benchmarks/client_peers.py [noop] [nginx] [burst] [--rounds 5]

Three tables: 50 callers at a FastAPI endpoint that does nothing (the server is the limit), 50 callers at nginx (the
client is), and one burst at the tutorial's background endpoint. Medians of alternated rounds, after one that does
not count. Peers that are not installed are left out.
"""

import argparse
from collections.abc import Callable
from functools import partial

from contenders import Figures, Ours, alternate, installed, machine, serving


def table(title: str, seen: dict[str, Figures]) -> None:
    print(f"\n{title}")
    print(f"{'':26}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'rate, ours/it':>15}{'p50':>7}{'p99':>7}")
    ours = seen["taskdemo"]
    for name, f in seen.items():
        ratios = f"{ours.rate / f.rate:15.2f}{ours.p50 / f.p50:7.2f}{ours.p99 / f.p99:7.2f}"
        print(f"{name:26}{f.rate:11.0f}{f.p50 * 1e3:9.2f}{f.p99 * 1e3:9.2f}{ratios}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*", default=["noop", "nginx", "burst"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    peers = installed()
    one, two = Ours(), Ours(2)

    def contend(url: str, count: int, callers: int, *, several: bool = False) -> dict[str, Callable[[], Figures]]:
        contenders: dict[str, Callable[[], Figures]] = {"taskdemo": partial(one, url, count, callers)}
        if several:
            contenders["taskdemo, two processes"] = partial(two, url, count, callers)
        for name, peer in peers.items():
            contenders[name] = partial(peer, url, count, callers)
        return contenders

    try:
        if "noop" in options.tables:
            with serving("noop") as url:
                seen = alternate(contend(url, 6_000, 50), options.rounds)
                table("FastAPI, an endpoint that does nothing, 50 callers", seen)
        if "nginx" in options.tables:
            with serving("nginx") as url:
                seen = alternate(contend(url, 20_000, 50, several=True), options.rounds)
                table("nginx, one worker, 50 callers", seen)
        if "burst" in options.tables:
            for size in (20, 100, 1000):
                with serving("background") as url:
                    contenders = contend(url, size, size)
                    contenders.pop("wrk", None)  # which knows no single burst
                    seen = alternate(contenders, options.rounds * (1 if size == 1000 else 3))
                    table(f"background, one burst of {size}", seen)
    finally:
        one.close()
        two.close()


if __name__ == "__main__":
    main()
