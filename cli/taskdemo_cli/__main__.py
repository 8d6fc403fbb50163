"""The entry point of `taskdemo` and `python -m taskdemo_cli`; lets Ctrl-C work while the rest is being imported."""

import gc
import os
import signal
import sys


def run() -> None:
    """Run the command line; until its signal handlers are installed, Ctrl-C ends it without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.name == "nt":
        sys.exit(
            "taskdemo: it runs on Linux and macOS; on Windows, run it in WSL: https://learn.microsoft.com/windows/wsl"
        )
    gc.disable()  # imports leave no garbage, and looking for it takes a tenth of their time
    from taskdemo_cli import app

    gc.freeze()
    gc.enable()
    app.run()


if __name__ == "__main__":
    run()
