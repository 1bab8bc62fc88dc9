"""What can go wrong with a study."""


class StudyError(ValueError):
    """An evaluation, a study or votes that cannot be used; the message is one line that says what to do."""
