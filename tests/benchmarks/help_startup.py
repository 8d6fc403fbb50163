"""How long `taskdemo --help` takes beside an empty Typer application: `python tests/benchmarks/help_startup.py`.

Both are started by turns in fresh processes; the figure is the median of the ratios of neighbours.
Exit code 1 above 1.2.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TURNS = 25
MOST = 1.2
EMPTY = """\
import typer
app = typer.Typer()
@app.command()
def one() -> None:
    "First."
@app.command()
def two() -> None:
    "Second."
app()
"""
COMPILES = "PYTHONDONTWRITEBYTECODE"
"""With this, a checkout would be compiled at every start, which what pip installs never is."""
OURS = "from taskdemo_cli.app import run; run()"


def seconds(*command: str) -> float:
    """Run a command to its end and return how long it took."""
    environment = {name: value for name, value in os.environ.items() if name != COMPILES}
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - start


def main() -> int:
    """Print the table and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        pairs = []
        for turn in range(TURNS + 1):
            pair = seconds(str(empty), "--help"), seconds("-c", OURS, "--help")
            if turn:  # the first writes the byte code
                pairs.append(pair)
    ratio = statistics.median(ours / bare for bare, ours in pairs)
    print(f"{'':24}median of {TURNS}")
    print(f"{'empty Typer --help':24}{statistics.median(bare for bare, _ in pairs) * 1000:7.0f} ms")
    print(f"{'taskdemo --help':24}{statistics.median(ours for _, ours in pairs) * 1000:7.0f} ms")
    print(f"{'ratio':24}{ratio:7.2f}    (at most {MOST})")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
