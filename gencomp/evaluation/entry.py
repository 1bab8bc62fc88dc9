"""One model at one rate on a set of pictures, beside which codecs are put at equal bytes."""

from collections.abc import Mapping
from typing import NamedTuple

from gencomp.evaluation.rates import RateRow


class Entry(NamedTuple):
    """The files of one model at one rate."""

    name: str
    """Unique in its set, such as `gc` or `light-3 0.0363 bpp`."""
    codec: str
    """Name of its curve: entries of one model at several rates share it."""
    colour: str
    """Name of its colour in the style sheet."""
    group: str
    """Entries of one group are shown beside each other; those of others have pictures and tables of their own."""
    rows: Mapping[str, RateRow]
    """By picture."""
    note: str = ""
    """What else is known of it, as a line."""
    warning: str = ""
    """What is wrong with it, as a line; empty if nothing is."""
