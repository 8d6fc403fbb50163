"""The one error for users, with a sentence that says what is wrong and what to type; and the exit codes."""

from collections.abc import Sequence

OK = 0
FAILED = 1
"""The run happened, but a request failed or an accepted task was lost."""
COULD_NOT_RUN = 2
THRESHOLD_MET = 99
INTERRUPTED = 130


class UserError(Exception):
    """An error printed as one line, without a traceback. `str(error)` names the value and what to type instead.

    `more`: lines printed below it, for a list of choices that is too long for a sentence.
    """

    def __init__(self, sentence: str, exit_code: int = COULD_NOT_RUN, *, more: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self.more = more
