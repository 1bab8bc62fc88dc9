"""Work that threads do comes back in order."""

import itertools
import threading
import time

import pytest

from gencomp.data.ordered import in_order


def test_results_come_in_order_whatever_their_time_and_not_far_ahead() -> None:
    begun: list[int] = []

    def slow(number: int) -> int:
        begun.append(number)
        time.sleep(0.02 if number % 3 else 0.06)
        return number * number

    results = in_order(slow, itertools.count(), 4)
    assert list(itertools.islice(results, 40)) == [number * number for number in range(40)]
    assert len(begun) <= 40 + 2 * 4 + 1
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 40 + 2 * 4 + 1


def test_an_unexpected_error_of_a_thread_ends_it_all() -> None:
    def broken(number: int) -> int:
        if number == 5:
            raise OSError("disk full")
        return number

    with pytest.raises(OSError, match="disk full"):
        list(in_order(broken, range(100), 3))


def test_each_thread_is_prepared_before_it_works() -> None:
    prepared = set[int]()
    by = set(in_order(lambda _: threading.get_ident(), range(50), 3, lambda: prepared.add(threading.get_ident())))
    assert by <= prepared and threading.get_ident() not in prepared


def test_what_is_under_way_is_not_waited_for_where_no_more_is_taken() -> None:
    free, begun = threading.Event(), time.monotonic()
    results = in_order(lambda number: number == 0 or free.wait(600), range(10), 2)
    assert next(results)
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 60
    free.set()
