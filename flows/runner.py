"""Prefect's runner of due flow runs, with a SIGTERM that ends it and its runs."""

import asyncio
import signal
import threading

import psutil
from prefect.runner import Runner

from flows.guard import end_descendants


class StoppableRunner(Runner):
    """Prefect's own SIGTERM handler ends in tracebacks out of its event loop; its Ctrl-C waits for the runs."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.others = frozenset(child.pid for child in psutil.Process().children())
        """Children that are no flow runs: the Prefect server."""
        self._serving: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Run what comes due. A SIGTERM cancels it; a SIGINT would not where a script started us in the background."""
        self._serving = asyncio.current_task()
        await self.start()

    def handle_sigterm(self, *_arguments: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would cancel the ending
        # The runner waits for its runs, and a run that is just starting may miss a signal: so SIGKILL after a grace.
        threading.Thread(target=end_descendants, kwargs={"spared": self.others}, daemon=True).start()
        assert self._serving is not None
        self._serving.get_loop().call_soon_threadsafe(self._serving.cancel)
