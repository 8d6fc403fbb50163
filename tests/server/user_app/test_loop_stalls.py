"""How the thread looks that watches the event loop; what it finds is shown by the applications of tests/apps."""

import sys
import threading

import pytest

from taskdemo_server.runtime import thread_clocks
from taskdemo_server.user_app.clocks import Clocks


@pytest.mark.skipif(not thread_clocks.TELLS, reason="this system says nothing of its threads")
def test_whoever_reads_the_clock_of_a_thread_keeps_the_interpreter_meanwhile() -> None:
    clocks, begin, rounds = Clocks(), threading.Event(), 0
    ended = False

    def spin() -> None:
        nonlocal rounds
        begin.wait()
        while not ended:
            rounds += 1

    usual = sys.getswitchinterval()
    other = threading.Thread(target=spin)
    other.start()
    assert sum(clocks.of(clocks.own)) > 0  # and the file is open from now on
    try:
        sys.setswitchinterval(20)  # who once lets the interpreter go is without it for so many seconds
        begin.set()
        for _ in range(1000):
            clocks.of(clocks.own)
        assert rounds == 0
    finally:
        ended = True
        sys.setswitchinterval(usual)
        other.join()
