"""Where a run is kept while it grows: one array a field, so that a million requests and their tasks stay small.

Knows how an event changes a task, and nothing of figures. Times are whole microseconds of the client's monotonic
clock (the journal has no finer ones), `NONE` where there is none.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from taskdemo_cli.loadgen.protocol import Sample
from taskdemo_server.contract.events import TaskEvent, TaskState

NONE: Final = -(1 << 63)
"""No time: no clock shows it."""
NO_TEXT: Final = -1
ABSENT: Final = -2
"""The status of a request that has not been reported."""
NO_STATUS: Final = -1

STATES: Final[tuple[TaskState, ...]] = ("accepted", "started", "finished", "failed", "cancelled", "lost")
CODE_OF: Final[dict[str, int]] = {state: code for code, state in enumerate(STATES)}
ACCEPTED, STARTED = 0, 1
LOST: Final = CODE_OF["lost"]


def micro(seconds: float | None) -> int:
    """Return the time in whole microseconds, or NONE."""
    return NONE if seconds is None else round(seconds * 1e6)


class Texts:
    """Distinct texts, numbered from 0 in the order they came: a dict of a million strings, in a fifth of the room.

    The characters lie end to end in one buffer; a table with open addressing, never more than half full,
    finds the number of a text by its hash.
    """

    def __init__(self) -> None:
        self._characters = bytearray()
        self._ends = array("Q")
        self._hashes = array("I")
        self._table = array("i", [-1]) * 256

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return self._characters[start : self._ends[number]].decode("utf-8", "surrogatepass")

    def number_of(self, text: str) -> int:
        """Return the number of the text, a new one if it has none yet."""
        encoded = text.encode("utf-8", "surrogatepass")
        hashed = hash(encoded) & 0xFFFF_FFFF
        table, ends, mask = self._table, self._ends, len(self._table) - 1
        slot = hashed & mask
        while (number := table[slot]) >= 0:
            if self._hashes[number] == hashed:
                start = ends[number - 1] if number else 0
                if self._characters[start : ends[number]] == encoded:
                    return number
            slot = (slot + 1) & mask
        number = table[slot] = len(ends)
        self._characters += encoded
        ends.append(len(self._characters))
        self._hashes.append(hashed)
        if 2 * len(ends) > len(table):
            self._double()
        return number

    def _double(self) -> None:
        table = array("i", [-1]) * (2 * len(self._table))
        mask = len(table) - 1
        for number, hashed in enumerate(self._hashes):
            slot = hashed & mask
            while table[slot] >= 0:
                slot = (slot + 1) & mask
            table[slot] = number
        self._table = table


class RequestColumns:
    """What was reported of every request; the request `n` is at the place n - 1."""

    def __init__(self) -> None:
        self.planned = array("q")
        self.sent = array("q")
        self.first_byte = array("q")
        self.done = array("q")
        self.status = array("i")
        self.error = array("i")
        self.task = array("i")
        """The place in TaskColumns of the task that the response named, or -1."""
        self.reported = 0

    def add(self, sample: Sample, texts: Texts) -> int:
        """Keep one sample, but for its task; return its place, or -1 where this request was reported before."""
        n, planned, sent, first_byte, done, status, error, _ = sample
        at = n - 1
        missing = n - len(self.status)
        if missing > 0:
            for times in (self.planned, self.sent, self.first_byte, self.done):
                times.extend([NONE] * missing)
            self.status.extend([ABSENT] * missing)
            self.error.extend([NO_TEXT] * missing)
            self.task.extend([-1] * missing)
        elif self.status[at] != ABSENT:
            return -1
        self.planned[at] = micro(planned)
        self.sent[at] = micro(sent)
        self.first_byte[at] = micro(first_byte)
        self.done[at] = micro(done)
        self.status[at] = NO_STATUS if status is None else status
        self.error[at] = NO_TEXT if error is None else texts.number_of(error)
        self.reported += 1
        return at

    def present(self) -> Iterator[int]:
        """Yield the places of the requests that were reported, in order of their numbers."""
        return (at for at, status in enumerate(self.status) if status != ABSENT)

    def response(self, at: int) -> int:
        """Return the microseconds from sent to last byte; NONE unless an answer came in full."""
        done, sent = self.done[at], self.sent[at]
        whole = self.status[at] >= 0 and self.error[at] == NO_TEXT
        return done - sent if whole and done != NONE and sent != NONE else NONE

    def errors(self, texts: Texts) -> set[str]:
        """Return the kinds of error there were, of requests that were not answered."""
        return {texts[number] for number in set(self.error) if number != NO_TEXT}

    def failed(self, at: int) -> bool:
        """Whether it was not answered, or with an error's status."""
        return self.error[at] != NO_TEXT or self.status[at] >= 400

    def error_text(self, at: int, texts: Texts) -> str | None:
        """Return what went wrong, by kind: the exception's name, or `HTTP` and the status; None where nothing did."""
        if self.error[at] != NO_TEXT:
            return texts[self.error[at]]
        return f"HTTP {self.status[at]}" if self.status[at] >= 400 else None


class TaskColumns:
    """What the events said of every task so far, whatever their order and however often they came.

    A task that was started or ended more than once (a worker was killed and the task given to another one)
    keeps its first start and its last end here, and all of them in `histories`.
    """

    def __init__(self) -> None:
        self.ids = Texts()
        self.accepted = array("q")
        self.started = array("q")
        self.ended = array("q")
        self.cpu = array("q")
        """Microseconds of CPU time that its work took, where it has ended."""
        self.state = array("b")
        self.where = array("i")
        self.message = array("i")
        self.error = array("i")
        self.output = array("i")
        self.request = array("i")
        """The number of the request whose response named the task; 0 where none did (yet)."""
        self.histories: dict[int, set[tuple[int, int, int, int]]] = {}
        """Clock, state, where and error of every start and end, of tasks that had more than one of either."""

    def __len__(self) -> int:
        return len(self.state)

    def place_of(self, task_id: str) -> int:
        """Return the place of the task, a new one if it was never heard of."""
        at = self.ids.number_of(task_id)
        if at == len(self.state):
            for times in (self.accepted, self.started, self.ended, self.cpu):
                times.append(NONE)
            for numbers in (self.where, self.message, self.error, self.output):
                numbers.append(NO_TEXT)
            self.state.append(ACCEPTED)
            self.request.append(0)
        return at

    def fold(self, at: int, event: TaskEvent, clock: int, texts: Texts) -> None:
        """Change the task at the place `at` as the event says, which happened at `clock`.

        Events come in any order, and some twice. What a start or an end does depends on what is known already:

        | known         | a start comes                         | an end comes                                |
        | nothing       | started                               | ended; where it ran is the end's            |
        | a start       | the same again: nothing; else history | not before the start: ended; else history   |
        | an end        | not after it: its start; else history | the same again: nothing; else history       |
        | a history     | into the history                      | into the history                            |

        A history is a set of all starts and ends, for the few tasks that ran more than once; `_settle` reads the
        task's state off it. All other tasks need four numbers and no object.
        """
        code = CODE_OF[event.state]
        if isinstance(event.message, str):
            self.message[at] = texts.number_of(event.message)
        if event.cpu_s is not None:
            self.cpu[at] = micro(event.cpu_s)
        if code == ACCEPTED:
            if self.accepted[at] == NONE or clock < self.accepted[at]:
                self.accepted[at] = clock
            return
        where = texts.number_of(event.where)
        if isinstance(event.output, str):
            self.output[at] = texts.number_of(event.output)
        error = texts.number_of(event.error) if isinstance(event.error, str) else NO_TEXT
        if at in self.histories:
            self.histories[at].add((clock, code, where, error))
            self._settle(at)
        elif code == STARTED:
            if self.started[at] not in (NONE, clock):
                self._start_history(at, (clock, code, where, error))
            else:
                self.started[at] = clock
                self.where[at] = where
                if self.ended[at] == NONE:
                    self.state[at] = STARTED
                elif self.ended[at] < clock:
                    self._start_history(at, (clock, code, where, error))
        elif self.ended[at] == NONE and (self.started[at] == NONE or self.started[at] <= clock):
            self.ended[at] = clock
            self.state[at] = code
            self.error[at] = error
            if self.started[at] == NONE:
                self.where[at] = where
        elif (self.ended[at], self.state[at]) != (clock, code):
            self._start_history(at, (clock, code, where, error))

    def runs(self, at: int) -> int:
        """Return how often the work of the task was started."""
        if at in self.histories:
            return len({clock for clock, code, _, _ in self.histories[at] if code == STARTED})
        return int(self.started[at] != NONE)

    def executions(self, places: Sequence[int]) -> "tuple[array[int], array[int]]":
        """Return the starts and the ends of all work that these tasks have done, unpaired and unordered.

        Work that was started again ended, at the latest, when it was. No work is shorter than a microsecond.
        """
        starts, ends = array("q"), array("q")
        for at in places:
            if at in self.histories:
                self._add_executions(at, starts, ends)
            elif self.started[at] != NONE:
                starts.append(self.started[at])
                if self.ended[at] != NONE:
                    ends.append(max(self.ended[at], self.started[at] + 1))
        return starts, ends

    def _add_executions(self, at: int, starts: "array[int]", ends: "array[int]") -> None:
        running = NONE
        for clock, code, _, _ in sorted(self.histories[at]):
            if code == STARTED and running == clock:
                continue
            if running != NONE:
                ends.append(max(clock, running + 1))
                running = NONE
            if code == STARTED:
                starts.append(clock)
                running = clock

    def _start_history(self, at: int, entry: tuple[int, int, int, int]) -> None:
        history = {entry}
        if self.started[at] != NONE:
            history.add((self.started[at], STARTED, self.where[at], NO_TEXT))
        if self.ended[at] != NONE:
            history.add((self.ended[at], self.state[at], self.where[at], self.error[at]))
        self.histories[at] = history
        self._settle(at)

    def _settle(self, at: int) -> None:
        history = sorted(self.histories[at])
        starts = [entry for entry in history if entry[1] == STARTED]
        ends = [entry for entry in history if entry[1] != STARTED]
        self.started[at] = starts[0][0] if starts else NONE
        self.where[at] = (starts or ends)[-1][2]
        if ends and (not starts or ends[-1][0] >= starts[-1][0]):
            self.ended[at], self.state[at], _, self.error[at] = ends[-1]
        else:
            self.ended[at], self.state[at], self.error[at] = NONE, STARTED, NO_TEXT
