import threading
from functools import partial

import pytest

from depthcrafter_cli.threads import Behind, ahead, called_ahead


def test_items_are_made_ahead_in_order_and_no_more_of_them_than_asked_for():
    made, wait = [], threading.Semaphore(0)

    def numbers():
        for number in range(10):
            made.append(number)
            wait.release()
            yield number

    taken = ahead(numbers(), 3)
    assert next(taken) == 0
    for _ in range(4):  # three ahead of the one that is taken
        wait.acquire()
    assert len(made) == 4
    assert [*taken] == [*range(1, 10)] == made[1:]


def test_an_error_comes_after_the_items_before_it():
    def numbers():
        yield from range(3)
        raise KeyError("three")

    taken, got = ahead(numbers(), 8), []
    with pytest.raises(KeyError, match="three"):
        for number in taken:
            got.append(number)
    assert got == [0, 1, 2]


def test_no_thread_is_left_of_what_was_not_used_up():
    before = threading.active_count()
    taken = ahead(iter(int, 1), 4)
    assert next(taken) == 0
    taken.close()
    assert threading.active_count() == before


def test_several_threads_call_at_a_time_and_what_they_return_comes_in_order():
    both = threading.Barrier(2)

    def called(number):
        both.wait(60)  # comes back once two threads wait
        return number

    calls = (partial(called, number) for number in range(6))
    assert [*called_ahead(calls, 4, threads=2)] == [*range(6)]


def test_work_is_done_in_order_and_waited_for():
    done = []
    with Behind(1) as later:
        for number in range(5):
            later.do(done.append, number)
        later.wait()
        assert done == [*range(5)]
        later.do(done.append, 5)
    assert done == [*range(6)]


def test_nothing_is_done_after_what_failed_and_its_error_is_raised():
    done, hold = [], threading.Event()

    def fail():
        hold.wait()
        raise OSError("full")

    with pytest.raises(OSError, match="full"), Behind(4) as later:
        later.do(fail)
        later.do(done.append, "later")
        hold.set()
        later.wait()
    assert done == []


def test_an_error_of_the_caller_is_told_and_what_was_handed_over_is_done():
    done, hold = [], threading.Event()

    def fail():
        hold.wait()
        done.append("failed")
        raise OSError("full")

    with pytest.raises(KeyError), Behind(4) as later:
        later.do(done.append, "before")
        later.do(fail)
        hold.set()
        raise KeyError
    assert done == ["before", "failed"]
