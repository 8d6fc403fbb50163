"""Fires at a server that does something else with each request, and compares the figures with the server's own count.

    PYTHONPATH=tests python tests/soak/chaos.py [RUNS (100)] [FIRST SEED (0)]

What a request gets is drawn from the run's seed: an answer, at once, in pieces, early, after interim ones; a redirect,
a 503; or no whole answer: a reset, an end, half a body, garbage, nothing. The number of a request is in its path, so
that each row of the result can be compared with what was done with that request. Exits with 1 where a figure disagrees.
"""

import asyncio
import json
import random
import re
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import Any, Final

from talks import listening

TASKDEMO: Final = str(Path(sys.executable).with_name("taskdemo"))
ROOM_S: Final = 60.0
PIECE: Final = b"x" * 100
INTERIM_S: Final = 0.05
"""From the interim responses to the answer."""
KINDS: Final = ("ok", "slow", "early", "interim", "redirect", "503", "reset", "close", "half", "garbage", "hang")
WHOLE: Final = ("ok", "slow", "early", "interim", "redirect")
"""What is an answer, and no error."""
ANSWERS: Final = (*WHOLE, "503")
STATUSES: Final = {"redirect": 307, "503": 503, "reset": None, "close": None, "garbage": None, "hang": None}
"""With which status it ends, where that is not 200."""
ERRORS: Final[dict[str, set[str | None]]] = {
    **{kind: {None} for kind in WHOLE},
    "503": {"HTTP 503"},
    "reset": {"ReadError", "WriteError"},
    "hang": {"ReadTimeout"},
}
"""With which error it ends, where the parser does not say why."""


@dataclass
class Served:
    """What the server did with one request."""

    kind: str
    began: float
    """When its head had come, on the clock that all processes share."""
    ended: float | None = None
    """When the last of the answer went out; None where the caller had left before."""
    body: int = 0
    """Bytes of the answer's body."""


@dataclass
class Case:
    """One run: what is typed, how the server behaves, and what it did."""

    seed: int
    weights: list[float] = field(default_factory=list)
    closes: bool = False
    """Whether the server ends the connection with each answer."""
    options: list[str] = field(default_factory=list)
    patience_s: float = 0.0
    """How long a request, or the run, may take."""
    chance: random.Random = field(default_factory=random.Random)
    served: dict[int, Served] = field(default_factory=dict)
    twice: list[int] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    """Requests that were given up although they would have been answered."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do with each request of a connection what its turn is."""
        while head := await reader.readuntil(b"\r\n\r\n"):
            name = head.split(b" ", 2)[1].strip(b"/").partition(b"?")[0]
            if not name.isdigit():
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            told = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            length = int(told[1]) if told else 0
            (kind,) = self.chance.choices(KINDS, self.weights)
            one = Served(kind, time.monotonic())
            if self.served.setdefault(int(name), one) is not one:
                self.twice.append(int(name))
            if kind != "early":
                await reader.readexactly(length)
            if not await self._answer(one, reader, writer):
                return
            if kind == "early":
                await reader.readexactly(length)
            if self.closes:
                return

    async def _answer(self, one: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer, or not; return whether the connection lives."""
        closing = b"Connection: close\r\n" if self.closes else b""
        match one.kind:
            case "hang":
                await reader.read()  # until the caller leaves
                return False
            case "reset":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            case "half":
                await self._say(one, writer, b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", PIECE)
            case "garbage":
                await self._say(one, writer, b"\x00\xffSSH-2.0-nonsense\r\n\r\n" * 10, b"")
            case "redirect":
                head = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /ok\r\nContent-Length: 0\r\n%b\r\n" % closing
                await self._say(one, writer, head, b"")
            case "503":
                head = b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n%b\r\n" % closing
                await self._say(one, writer, head, PIECE)
            case "slow":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n%b\r\n" % closing)
                for _ in range(5):
                    await asyncio.sleep(0.02)
                    await self._say(one, writer, b"", PIECE)
            case "interim":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                await asyncio.sleep(INTERIM_S)
                await self._say(one, writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n%b\r\n" % closing, PIECE)
            case "ok" | "early":
                await self._say(one, writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n%b\r\n" % closing, PIECE)
        return one.kind not in {"reset", "close", "half", "garbage"}

    async def _say(self, one: Served, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        one.ended = time.monotonic()
        one.body += len(body)
        writer.write(head + body)
        await writer.drain()


def make_case(seed: int, folder: Path) -> Case:
    """Return the case of this seed."""
    chance = random.Random(seed)
    case = Case(seed, [chance.choice((0, 1, 1, 3)) for _ in KINDS], chance.random() < 0.2, chance=chance)
    case.weights[0] += 1
    case.patience_s = chance.choice((0.5, 1.0))
    count = chance.choice((1, 7, 40, 150, 400))
    case.options = ["--count", str(count)]
    if chance.random() < 0.3:
        case.options += ["--rate", str(chance.choice((50, 200)))]
    else:
        case.options += ["--concurrency", str(chance.choice((1, 4, 20, 100)))]
    if chance.random() < 0.7:
        case.options += ["--request-timeout", str(case.patience_s), "--timeout", str(ROOM_S)]
    else:
        case.patience_s += 1.5
        case.options += ["--timeout", str(case.patience_s)]
    if chance.random() < 0.4:
        body = folder / "body"
        body.write_bytes(b"b" * chance.choice((10, 100_000, 3_000_000)))
        case.options += ["--method", "POST", "--body", f"@{body}"]
    if chance.random() < 0.2:
        case.options += ["--header", "Connection: close"]
    return case


async def fire(case: Case) -> tuple[int, Any, str]:
    """Fire as the case says, at its server; return the exit code, the result and what was said beside it."""
    async with listening(case.talk) as server:
        port = server.sockets[0].getsockname()[1]
        command = [TASKDEMO, "fire", "--url", f"http://127.0.0.1:{port}/{{n}}", *case.options, "--json"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), ROOM_S + 30)
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
        code = process.returncode
        assert code is not None
        return code, json.loads(out) if out else None, err.decode()


def troubles(case: Case, code: int, run: Any, said: str) -> list[str]:
    """Return in what the result and the server's own count disagree."""
    if run is None or "Traceback" in said:
        return [f"exit {code}: {said[-500:]}"]
    rows = {row["n"]: row for row in run["requests"]}
    wrong = [f"request {n} came twice" for n in case.twice]
    sent = {n for n, row in rows.items() if row["sent_s"] is not None}
    if sent != set(case.served):
        return [*wrong, f"sent {len(sent)}, and the server had {len(case.served)}"]
    case.late = {n for n, one in case.served.items() if rows[n]["error"] == "ReadTimeout" and one.kind != "hang"}
    for n, one in case.served.items():
        wrong += [f"{n} ({one.kind}): {what}" for what in _of_row(case, rows[n], one)]
    figures = _figures(case, run, code).items()
    return wrong + [f"{name}: {ours}, and the server has {its}" for name, (ours, its) in figures if ours != its]


def _of_row(case: Case, row: Any, one: Served) -> Iterator[str]:
    """Yield what of a request's row is not what was done with it."""
    if row["n"] in case.late:  # as it may be on a busy machine, or at the end of a run that is timed out
        took = row["done_s"] - (row["sent_s"] if "--request-timeout" in case.options else 0.0)
        if took < 0.99 * case.patience_s:
            yield f"given up after {took:.3f} s"
        return
    if row["status"] != STATUSES.get(one.kind, 200):
        yield f"status {row['status']}"
    if row["error"] not in ERRORS.get(one.kind, {"RemoteProtocolError"}):
        yield f"{row['error']} ({row['reason']})"
    if (one.kind in ANSWERS) != (row["response_s"] is not None):
        yield f"response_s {row['response_s']}"
    took = row["done_s"] - row["sent_s"]
    if one.kind in ANSWERS and one.ended is not None and took < one.ended - one.began:
        yield f"{took:.4f} s, and the server took {one.ended - one.began:.4f} s"
    if one.kind == "interim" and row["first_byte_s"] - row["sent_s"] < INTERIM_S:
        yield "an interim response was its first byte"


def _figures(case: Case, run: Any, code: int) -> dict[str, tuple[Any, Any]]:
    """Return figures of the result, each with what it is by the server's own count."""
    rows = {row["n"]: row for row in run["requests"]}
    kinds = {n: one.kind for n, one in case.served.items() if n not in case.late}
    good = [rows[n] for n, kind in kinds.items() if kind in WHOLE]
    refused = sum(kind == "503" for kind in kinds.values())
    failed = len(rows) - len(good)
    statuses = [STATUSES.get(kind, 200) for kind in kinds.values() if kind in ANSWERS]
    statuses += [rows[n]["status"] for n in case.late if rows[n]["response_s"] is not None]
    summary, requests = run["summary"], run["summary"]["requests"]
    figures = {
        "ok": (requests["ok"], len(good)),
        "failed": (requests["failed"], failed),
        "errors": (requests["errors"], dict(Counter(row["error"] for row in rows.values() if row["error"]))),
        "statuses": (requests["statuses"], dict(Counter(str(status) for status in statuses if status))),
        "503": (requests["errors"].get("HTTP 503", 0), refused),
        "response_s": ((summary["response_s"] or {"count": 0})["count"], len(good)),
        "failed_s": ((summary["failed_s"] or {"count": 0})["count"], refused),
        "not_sent": (run["not_sent"], run["count"] - len(rows)),
        "exit": (code, 1 if failed else 0),
    }
    if good:
        times = [row["done_s"] - row["planned_s" if run["rate"] else "sent_s"] for row in good]
        figures["p50"] = (round(summary["response_s"]["p50"] - median_low(times), 5), 0.0)
    if not case.late:
        figures["bytes"] = (requests["bytes"], sum(one.body for one in case.served.values()))
    if 0 < failed < len(rows):
        figures["verdict"] = (f"{failed:,} of {len(rows):,} requests failed" in run["verdict"], True)
    return figures


def main() -> int:
    """Do the runs one after another, a line each, and say in how many a figure was wrong."""
    runs, first = (int(text) for text in (sys.argv[1:] + ["100", "0"][len(sys.argv) - 1 :])[:2])
    troubled, total, late = 0, Counter[str](), Counter[str]()
    for seed in range(first, first + runs):
        with tempfile.TemporaryDirectory() as folder:
            case = make_case(seed, Path(folder))
            code, run, said = asyncio.run(fire(case))
            wrong = troubles(case, code, run, said)
        troubled += bool(wrong)
        did = Counter(one.kind for one in case.served.values())
        total += did
        late += Counter(case.served[n].kind for n in case.late)
        typed = " ".join(case.options)
        print(f"{'BAD' if wrong else 'ok '} seed {seed:<4}{typed}: exit {code}, {dict(did)}", flush=True)
        for one in wrong[:8]:
            print(f"      {one}", flush=True)
    print(f"{runs} runs, {troubled} with a wrong figure; {total.total():,} requests: {dict(total)}")
    print(f"given up although an answer would have come: {dict(late)}")
    return min(troubled, 1)


if __name__ == "__main__":
    sys.exit(main())
