"""What the live screen costs: p99 with it beside p99 with --json: `python tests/benchmarks/screen_cost.py [ROUNDS]`.

Both fire the same run at one server, by turns, the live screen in a pseudo-terminal of 100 columns and 40 lines.
The figure is the median of the ratios of neighbours. Exit code 1 above 1.05.
"""

import contextlib
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from measuring import TASKDEMO, free_port, running
from taskdemo_server.contract.settings import Settings

COUNT, CONCURRENCY = 10_000, 50
MOST = 1.05


def p99(port: int, live: bool) -> float:
    """Fire once and return the 99th percentile of the response times, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "run.json"
        command = [TASKDEMO, "fire", "--port", str(port), "--count", str(COUNT), "--concurrency", str(CONCURRENCY)]
        command += ["--save", str(saved)]
        if live:
            in_terminal(command)
        else:
            subprocess.run([*command, "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return float(json.loads(saved.read_text())["summary"]["response_s"]["p99"])


def in_terminal(command: list[str]) -> None:
    """Run a command in a pseudo-terminal, and read what it draws as a terminal does."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
        while os.read(terminal, 65536):
            pass
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with {status}")


def main() -> int:
    """Print the table and return the exit code."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    pairs = []
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(mode="background", duration=0.0, port=port, journal=f"{folder}/journal")
        url, log = f"http://127.0.0.1:{port}/ping", Path(folder) / "log"
        with running("-m", "taskdemo_server.serve", settings.to_json(), url=url, log=log):
            p99(port, live=False)
            for turn in range(rounds):
                order = (True, False) if turn % 2 else (False, True)
                measured = {live: p99(port, live) for live in order}
                pairs.append((measured[False], measured[True]))
                print(
                    f"{turn + 1:3}  --json {measured[False] * 1000:7.2f} ms   live {measured[True] * 1000:7.2f} ms",
                    flush=True,
                )
    ratio = statistics.median(live / plain for plain, live in pairs)
    print(f"p99 with the live screen is {ratio:.3f} x p99 with --json (at most {MOST})")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
