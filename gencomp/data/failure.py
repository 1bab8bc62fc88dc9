"""What can go wrong with data: a rejection ends one sample, a data error ends the stage."""


class DataError(Exception):
    """A source or an archive that cannot be used; the message is one line that says which and why."""


class Rejected(Exception):
    """One image or label map that is left out, with the `reason` that its manifest records."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason


class Transient(Rejected):
    """A failure that another attempt may remove, after `pause` seconds where the server asks for them."""

    def __init__(self, reason: str, detail: str = "", pause: float = 0.0) -> None:
        super().__init__(reason, detail)
        self.pause = pause
