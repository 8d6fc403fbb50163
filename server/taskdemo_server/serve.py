"""`python -m taskdemo_server.serve SETTINGS_JSON`: one server, from the first line it prints to the last.

Imports little at the top, because every pool process imports this file again when it starts. That is also why it is
not a `__main__.py`, which multiprocessing does not import again.
"""

import sys

from taskdemo_server.contract.settings import Settings, take_argument
from taskdemo_server.runtime import orphans

if __name__ == "__mp_main__":  # A pool process of the page: it must end with the server, even after a SIGKILL.
    orphans.end_with_parent()


def main() -> int:
    """Serve until told to end; return the exit code."""
    # multiprocessing's resource tracker warns when it removes the semaphores of a killed server, which is its job.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    from taskdemo_server.runtime.supervisor import serve

    return serve(Settings.from_json(take_argument(sys.argv)))


if __name__ == "__main__":
    sys.exit(main())
