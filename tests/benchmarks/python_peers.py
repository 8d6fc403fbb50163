"""One Python load generator, run once: `python python_peers.py NAME URL COUNT CONCURRENCY` prints its figures as JSON.

Stamps are taken around the call, as the programs that use these libraries do.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Figures = dict[str, float]


def figures(times: list[float], wall: float) -> Figures:
    times.sort()

    def pick(share: float) -> float:
        return times[min(len(times) - 1, int(share * len(times)))]

    return {"rate": len(times) / wall, "p50": pick(0.5), "p99": pick(0.99)}


async def with_httpx(clients: list[Any], url: str, count: int, concurrency: int) -> Figures:
    times: list[float] = []
    left = iter(range(count))

    async def caller(client: Any) -> None:
        for _ in left:
            begun = time.perf_counter()
            response = await client.get(url)
            times.append(time.perf_counter() - begun)
            assert response.status_code == 200

    begun = time.perf_counter()
    await asyncio.gather(*(caller(clients[at % len(clients)]) for at in range(concurrency)))
    return figures(times, time.perf_counter() - begun)


async def httpx_main(name: str, url: str, count: int, concurrency: int) -> Figures:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    if name == "httpx":
        clients = [httpx.AsyncClient(limits=limits, timeout=None)]
    elif name == "httpx-each":
        context = httpx.create_ssl_context()
        clients = [httpx.AsyncClient(verify=context, limits=limits, timeout=None) for _ in range(concurrency)]
    else:
        from httpx_aiohttp import AiohttpTransport  # type: ignore[import-not-found]  # a peer, maybe elsewhere

        clients = [httpx.AsyncClient(transport=AiohttpTransport(limits=limits), timeout=None)]
    result = await with_httpx(clients, url, count, concurrency)
    for client in clients:
        await client.aclose()
    return result


LOCUST = """
from locust import FastHttpUser, constant, task
class Caller(FastHttpUser):
    wait_time = constant(0)
    @task
    def get(self):
        self.client.get("/")
"""


def locust_main(url: str, count: int, concurrency: int) -> Figures:
    """By time, as Locust knows no count; the figures are Locust's own report."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "locustfile.py")
        script.write_text(LOCUST)
        seconds = max(2, round(count / 2000))
        command: list[object] = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            script,
            "--headless",
            "-u",
            concurrency,
            "-r",
            concurrency,
        ]
        command += ["-t", f"{seconds}s", "--host", url.rstrip("/"), "--json", "--only-summary", "-L", "ERROR"]
        ended = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        (report,) = json.loads(ended.stdout)
    times = sorted((float(ms) / 1e3, n) for ms, n in report["response_times"].items())
    total = sum(n for _, n in times)

    def pick(share: float) -> float:
        seen = 0
        for value, n in times:
            seen += n
            if seen > share * total:
                return value
        return times[-1][0]

    wall = report["last_request_timestamp"] - report["start_time"]
    return {"rate": report["num_requests"] / wall, "p50": pick(0.5), "p99": pick(0.99)}


if __name__ == "__main__":
    name, url, count, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if name == "locust":
        print(json.dumps(locust_main(url, count, concurrency)))
    else:
        try:
            import uvloop

            runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        except ImportError:
            runner = asyncio.Runner()
        with runner:
            print(json.dumps(runner.run(httpx_main(name, url, count, concurrency))))
