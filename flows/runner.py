"""Prefect's runner of due flow runs, with a SIGTERM that ends it and its runs."""

import signal
import threading

import psutil
from prefect.runner import Runner

from flows.guard import GRACE_SECONDS, end_descendants, signal_descendants


class StoppableRunner(Runner):
    """Prefect's own SIGTERM handler ends in tracebacks out of its event loop; its Ctrl-C waits for the runs."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.others = frozenset(child.pid for child in psutil.Process().children())
        """Children that are no flow runs: the Prefect server."""

    def handle_sigterm(self, *_arguments: object) -> None:
        signal_descendants(signal.SIGTERM, spared=self.others)
        # A run that is just starting may miss the signal, and the runner waits for its runs.
        kill = threading.Timer(GRACE_SECONDS, end_descendants, kwargs={"spared": self.others})
        kill.daemon = True
        kill.start()
        signal.raise_signal(signal.SIGINT)
