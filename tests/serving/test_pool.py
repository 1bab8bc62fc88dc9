"""Order, bounds and deadlines of the pool, with jobs that end when they are told to."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from gencomp.serving.limits import Limits
from gencomp.serving.pool import Pool
from gencomp.serving.refusal import Refusal

PATIENT = Limits(workers=1, queue=2, seconds=60)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


def running(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 120))


def test_jobs_run_in_the_order_they_came_and_one_too_many_is_refused() -> None:
    async def test() -> None:
        pool, go, order = Pool(PATIENT), threading.Event(), list[int]()

        def job(number: int) -> Callable[[], int]:
            def work() -> int:
                go.wait(60)
                order.append(number)
                return number

            return work

        jobs = [asyncio.create_task(pool.run(job(number))) for number in range(3)]
        await until(lambda: (pool.running, pool.waiting) == (1, 2))
        with pytest.raises(Refusal, match="queue is full") as refused:
            await pool.run(job(3))
        assert refused.value.status == 503 and refused.value.retry_after is not None
        go.set()
        done = await asyncio.gather(*jobs)
        assert [one.result for one in done] == order == [0, 1, 2]
        assert all(one.waited >= 0 and one.worked >= 0 for one in done)
        assert (pool.running, pool.waiting, pool.overdue) == (0, 0, 0)
        pool.close()

    running(test)


def test_more_workers_work_at_once() -> None:
    async def test() -> None:
        pool, both = Pool(Limits(workers=2, queue=0)), threading.Barrier(2)
        await asyncio.gather(*(pool.run(lambda: both.wait(60)) for _ in range(2)))
        pool.close()

    running(test)


def test_a_job_that_is_late_keeps_its_worker_until_it_is_done() -> None:
    async def test() -> None:
        pool, go = Pool(Limits(workers=1, queue=1, seconds=0.05)), threading.Event()
        late = asyncio.create_task(pool.run(lambda: go.wait(60)))
        await until(lambda: pool.running == 1)
        begun = threading.Event()
        with pytest.raises(Refusal, match="no worker was free within 0.05 seconds") as waited:
            await pool.run(lambda: begun.set())
        with pytest.raises(Refusal, match="not done within 0.05 seconds") as overdue:
            await late
        assert (waited.value.status, overdue.value.status) == (503, 504)
        assert waited.value.retry_after is not None and overdue.value.retry_after is None
        assert (pool.running, pool.waiting, pool.overdue, pool.stuck) == (1, 0, 1, True)
        go.set()
        await until(lambda: pool.running == 0)
        assert (pool.overdue, pool.stuck, begun.is_set()) == (0, False, False)
        pool.close()

    running(test)


def test_who_leaves_the_queue_gives_up_the_place_and_nothing_is_done() -> None:
    async def test() -> None:
        pool, go, begun = Pool(PATIENT), threading.Event(), threading.Event()
        first = asyncio.create_task(pool.run(lambda: go.wait(60)))
        leaving = [asyncio.create_task(pool.run(lambda: begun.set())) for _ in range(2)]
        await until(lambda: pool.waiting == 2)
        for one in leaving:
            one.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert pool.waiting == 0
        go.set()
        assert (await first).result is True
        assert (await pool.run(lambda: 5)).result == 5
        assert not begun.is_set()
        pool.close()

    running(test)


def test_what_a_job_raises_reaches_who_waits_and_frees_the_worker() -> None:
    async def test() -> None:
        pool = Pool(PATIENT)

        def fails() -> None:
            raise TimeoutError("the job's own")

        for _ in range(4):
            with pytest.raises(TimeoutError, match="the job's own"):
                await pool.run(fails)
        assert (pool.running, pool.waiting, pool.overdue) == (0, 0, 0)
        pool.close()

    running(test)


def test_what_an_abandoned_job_raises_is_nobodys_error(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        pool, go = Pool(PATIENT), threading.Event()

        def fails() -> None:
            go.wait(60)
            raise ValueError("unheard")

        left = asyncio.create_task(pool.run(fails))
        await until(lambda: pool.running == 1)
        left.cancel()
        await until(lambda: pool.overdue == 1)
        go.set()
        await until(lambda: pool.running == 0)
        assert (await pool.run(lambda: 5)).result == 5
        pool.close()

    running(test)
    assert caplog.records == []


def test_every_worker_is_prepared() -> None:
    async def test() -> None:
        prepared = list[str]()
        pool = Pool(Limits(workers=1, queue=0), lambda: prepared.append(threading.current_thread().name))
        await pool.run(lambda: None)
        assert len(prepared) == 1 and prepared[0].startswith("gencomp-worker")
        pool.close()

    running(test)
