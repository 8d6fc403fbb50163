"""The first step of `taskdemo` and of `python -m taskdemo_cli`: deaf to nothing while the rest is being imported."""

import os
import signal
import sys


def run() -> None:
    """Run the command line; a Ctrl-C that comes before it can be answered just ends it, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.name == "nt":
        sys.exit(
            "taskdemo: it runs on Linux and macOS; on Windows, run it in WSL: https://learn.microsoft.com/windows/wsl"
        )
    from taskdemo_cli import app

    app.run()


if __name__ == "__main__":
    run()
