"""What can go wrong with weights; every message is one line that says what to do."""


class WeightsError(ValueError):
    """Weights that cannot be fetched, or are not what they should be."""


class MissingWeightsError(FileNotFoundError):
    """Weights that are needed and not in the cache, or not as they were put there."""
