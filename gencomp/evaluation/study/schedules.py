"""Who is shown what, in which order, on which side: seeded, and balanced over pairs, comparisons, pictures, sides."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.plan import Pair, Side, Trial, other_side

SIDES: tuple[Side, Side] = ("left", "right")


class _Uses:
    """How often everything was shown so far."""

    def __init__(self, pairs: Sequence[Pair], generator: np.random.Generator) -> None:
        comparisons, keys = [pair.comparison for pair in pairs], [pair.key for pair in pairs]
        self.comparison = np.array([comparisons.index(one) for one in comparisons])
        self.picture = np.array([keys.index(one) for one in keys])
        self.of_pair = np.zeros(len(pairs), np.int64)
        self._first_side = generator.integers(0, 2, len(pairs))

    def side(self, pair: int, balance: Counter[int]) -> Side:
        """Where the model of a pair stands when it is shown once more.

        A pair's sides alternate over participants; where both are due, the one that its comparison had less often in
        this schedule (`balance`: left less right, by comparison).
        """
        if self.of_pair[pair] % 2:
            left = not self._first_side[pair]
        else:
            lean = balance[int(self.comparison[pair])]
            left = lean < 0 if lean else bool(self._first_side[pair])
            self._first_side[pair] = left
        self.of_pair[pair] += 1
        balance[int(self.comparison[pair])] += 1 if left else -1
        return SIDES[0 if left else 1]


def make_schedules(
    pairs: Sequence[Pair], catches: int, *, count: int, trials: int, catch: int, repeats: int, seed: int
) -> list[list[Trial]]:
    """`count` schedules: `trials` pairs (all where there are fewer), `catch` catch trials, `repeats` repeated pairs.

    Over all schedules, any two pairs are shown equally often within one, and each pair's sides differ by at most one;
    within a schedule, comparisons and then pictures are as even as that allows. `catches`: how many catch trials there
    are to choose from. Raises StudyError.
    """
    trials = min(trials, len(pairs))
    if repeats > trials // 2:
        raise StudyError(f"of {trials} pairs at most {trials // 2} can be repeated, not {repeats}")
    generator = np.random.default_rng(seed)
    uses = _Uses(pairs, generator)
    return [
        _ordered(_chosen(uses, trials, generator), uses.picture, _catch_trials(catches, catch, at, generator), repeats)
        for at, generator in enumerate(generator.spawn(count))
    ]


def _chosen(uses: _Uses, trials: int, generator: np.random.Generator) -> list[Trial]:
    """The pairs of one schedule, in random order: the least used first, then by comparison, then by picture."""
    size = len(uses.of_pair)
    by_comparison, by_picture = np.zeros(size), np.zeros(size)
    taken = np.zeros(size, bool)
    balance: Counter[int] = Counter()
    chosen = []
    for _ in range(trials):
        before = uses.of_pair.copy()
        order = np.lexsort(
            (generator.random(size), by_picture[uses.picture], by_comparison[uses.comparison], before, taken)
        )
        pair = int(order[0])
        taken[pair] = True
        by_comparison[uses.comparison[pair]] += 1
        by_picture[uses.picture[pair]] += 1
        chosen.append(Trial("pair", pair, uses.side(pair, balance)))
    return [chosen[at] for at in generator.permutation(trials)]


def _catch_trials(catches: int, catch: int, schedule: int, generator: np.random.Generator) -> list[tuple[float, Trial]]:
    """Catch trials and where they come, as shares of the schedule: one in each of as many equal parts."""
    sides = generator.permutation(np.arange(catch) + int(generator.integers(0, 2))) % 2
    return [
        ((at + float(generator.random())) / catch, Trial("catch", (schedule * catch + at) % catches, SIDES[sides[at]]))
        for at in range(catch)
    ]


def _ordered(
    chosen: list[Trial], picture: NDArray[np.int64], catches: list[tuple[float, Trial]], repeats: int
) -> list[Trial]:
    """The whole schedule; what the first half begins with is repeated in the second."""
    half = len(chosen) // 2
    again = [Trial("repeat", trial.index, other_side(trial.side)) for trial in chosen[:repeats]]
    second = chosen[half:]
    for at, trial in enumerate(again):
        second.insert((at + 1) * len(second) // (repeats + 1), trial)
    trials = _apart(chosen[:half], picture) + _apart(second, picture)
    for share, trial in reversed(catches):
        trials.insert(int(share * (len(chosen) + repeats)), trial)
    return trials


def _apart(trials: Sequence[Trial], picture: NDArray[np.int64]) -> list[Trial]:
    """The same trials in nearly the same order, the next of another picture before one of the same."""
    left = list(trials)
    ordered: list[Trial] = []
    while left:
        last = picture[ordered[-1].index] if ordered else -1
        at = next((at for at, trial in enumerate(left) if picture[trial.index] != last), 0)
        ordered.append(left.pop(at))
    return ordered
