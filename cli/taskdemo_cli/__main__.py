"""The first step of `taskdemo` and of `python -m taskdemo_cli`: deaf to nothing while the rest is being imported."""

import signal


def run() -> None:
    """Run the command line; a Ctrl-C that comes before it can be answered just ends it, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from taskdemo_cli import app

    app.run()


if __name__ == "__main__":
    run()
