"""A bounded pool of worker threads in front of which a bounded number of jobs waits, first come, first served.

Waiting costs no thread and can be given up at any time. A job that a worker has begun cannot be stopped: PyTorch has no
way to interrupt a pass, and a thread cannot be killed. Whoever waits for it is let go at the deadline, and its worker
stays taken until the pass is over, so that the pool never works on more than it was made for.
"""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar

from gencomp.serving.limits import Limits
from gencomp.serving.refusal import Refusal

T = TypeVar("T")

SMOOTHING = 0.2
"""Weight of the newest job in the running mean of their durations."""


class Done(NamedTuple, Generic[T]):
    """What a job gave, and how long it took."""

    result: T
    waited: float
    """Seconds until a worker was free."""
    worked: float
    """Seconds in the worker."""


class Pool:
    """Belongs to one event loop; all but `Done.result` is made there."""

    def __init__(self, limits: Limits, prepare: Callable[[], None] = lambda: None) -> None:
        """`prepare` runs once in each worker."""
        self._limits = limits
        self._executor = ThreadPoolExecutor(limits.workers, "gencomp-worker", prepare)
        self._free = asyncio.Semaphore(limits.workers)
        self._mean = 1.0
        self.waiting = 0
        """Jobs that no worker has begun."""
        self.running = 0
        """Jobs in workers, overdue ones included."""
        self.overdue = 0
        """Jobs in workers that nobody waits for any more."""

    @property
    def stuck(self) -> bool:
        """Whether no worker does anything that somebody waits for, and none is free to."""
        return self.overdue >= self._limits.workers

    def check_room(self) -> None:
        """Raise Refusal where all workers are taken and the queue is full."""
        if self.waiting + self.running >= self._limits.capacity:
            raise self.busy("the server is busy: its queue is full")

    def busy(self, message: str) -> Refusal:
        """503, and the seconds after which the jobs that are there should be done."""
        expected = math.ceil(self._mean * (self.waiting + self.running) / self._limits.workers)
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after=max(1, min(expected, 60)))

    async def run(self, job: Callable[[], T]) -> Done[T]:
        """Run `job` in a worker. Raises what it raises, and Refusal: 503 without room, or where no worker was free in
        time, so that nothing was done; 504 where the job was begun and goes on unwatched."""
        self.check_room()
        arrived = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        await self._turn(deadline)
        begun = time.perf_counter()
        result = await self._watched(job, deadline)
        worked = time.perf_counter() - begun
        self._mean += SMOOTHING * (worked - self._mean)
        return Done(result, begun - arrived, worked)

    async def _turn(self, deadline: float) -> None:
        """Wait for a free worker and take it."""
        self.waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise self.busy(f"no worker was free within {self._limits.seconds:g} seconds") from None
        finally:
            self.waiting -= 1

    async def _watched(self, job: Callable[[], T], deadline: float) -> T:
        """The result of a job in a worker that was taken for it."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, job)
        self.running += 1
        future.add_done_callback(self._release)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(future)
        except TimeoutError:
            if future.done():  # the job's own
                raise
            message = f"not done within {self._limits.seconds:g} seconds: the picture may be too large for this server"
            raise Refusal(HTTPStatus.GATEWAY_TIMEOUT, message) from None
        finally:
            if not future.done():
                self.overdue += 1
                future.add_done_callback(self._forget)

    def _release(self, future: "asyncio.Future[T]") -> None:
        self.running -= 1
        self._free.release()

    def _forget(self, future: "asyncio.Future[T]") -> None:
        self.overdue -= 1
        if not future.cancelled():
            future.exception()  # nobody else asks for it, and asyncio would complain

    def close(self) -> None:
        """Take no more jobs; waits for none."""
        self._executor.shutdown(wait=False, cancel_futures=True)
