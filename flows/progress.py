"""A progress bar in Prefect that never holds up what it tells of."""

import contextlib
import re
import threading
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

PAUSE_SECONDS = 1.0
"""Between two updates, at least."""
_LAST_SECONDS = 5.0
_STEP = re.compile(r"^\S+ (?P<step>\d+)/(?P<steps>\d+)\s")


class Progress:
    """A progress artifact of the current run, brought up to date from a thread of its own."""

    def __init__(self, key: str, description: str) -> None:
        """`key` of lowercase letters, digits and dashes. Without a server that answers there is no bar."""
        self._news = threading.Event()
        self._over = threading.Event()
        self._percent = 0.0
        self._artifact: UUID | None = None
        with contextlib.suppress(Exception):  # whatever Prefect's client raises: a bar is worth no run
            artifact = create_progress_artifact(0.0, key=key, description=description)
            self._artifact = artifact if isinstance(artifact, UUID) else None
        self._thread = threading.Thread(target=self._work, name=f"progress {key}", daemon=True)
        self._thread.start()

    def show(self, done: float, total: float) -> None:
        """What is done of what there is."""
        self._percent = 100 * done / total if total else 100.0
        self._news.set()

    def line(self, text: str) -> None:
        """Take what a line of a stage's output tells, such as `gc 40/160  2.1 it/s`."""
        if step := _STEP.match(text):
            self.show(int(step["step"]), int(step["steps"]))

    def end(self) -> None:
        """Send what is left; returns within seconds."""
        self._over.set()
        self._news.set()
        self._thread.join(_LAST_SECONDS)

    def _work(self) -> None:
        artifact, over = self._artifact, False
        while artifact and not over:
            self._news.wait()
            self._news.clear()
            over = self._over.is_set()
            with contextlib.suppress(Exception):
                update_progress_artifact(artifact, self._percent)
            self._over.wait(PAUSE_SECONDS)


def artifact_key(kind: str, name: str) -> str:
    """A key that Prefect takes: `progress-train-gc` for `progress` of `train@gc`."""
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
