"""Who sees what: balance, by counting."""

from collections import Counter
from itertools import pairwise

import pytest

from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.plan import Pair, Shown, Trial, other_side
from gencomp.evaluation.study.schedules import make_schedules


def pairs(pictures: int, ratios: int) -> list[Pair]:
    """Of every picture at every rung."""
    ours, theirs = (Shown(name, "", 100, "0" * 64) for name in ("ours", "theirs"))
    return [
        Pair(f"picture{at}", "0" * 64, 8, 8, ours, theirs, float(rung + 1))
        for at in range(pictures)
        for rung in range(ratios)
    ]


def firsts(schedule: list[Trial]) -> list[Trial]:
    return [trial for trial in schedule if trial.kind == "pair"]


@pytest.mark.parametrize(
    ("pictures", "ratios", "trials", "count", "spread"), [(24, 5, 40, 30, 2), (4, 3, 9, 40, 3), (7, 2, 99, 11, 0)]
)
def test_pairs_comparisons_pictures_and_sides_are_even(
    pictures: int, ratios: int, trials: int, count: int, spread: int
) -> None:
    asked = pairs(pictures, ratios)
    schedules = make_schedules(asked, 3, count=count, trials=trials, catch=4, repeats=2, seed=1)
    assert len(schedules) == count
    uses, left = Counter[int](), Counter[int]()
    for schedule in schedules:
        seen = firsts(schedule)
        assert len(seen) == len({trial.index for trial in seen}) == min(trials, len(asked))
        by_rung = Counter(asked[trial.index].ratio for trial in seen)
        by_picture = Counter(asked[trial.index].key for trial in seen)
        assert max(by_rung.values()) - min(by_rung[one.ratio] for one in asked) <= 1
        assert max(by_picture.values()) - min(by_picture[one.key] for one in asked) <= spread
        uses.update(trial.index for trial in seen)
        left.update(trial.index for trial in seen if trial.side == "left")
    assert max(uses.values()) - min(uses[at] for at in range(len(asked))) <= 1
    assert all(abs(2 * left[at] - uses[at]) <= 1 for at in uses)
    lean = Counter[float]()
    for schedule in schedules:
        for trial in firsts(schedule):
            lean[asked[trial.index].ratio or 0] += 1 if trial.side == "left" else -1
    assert all(abs(one) <= 0.15 * count * trials / ratios + 2 for one in lean.values())


def test_catch_trials_are_spread_and_repeats_come_later_with_sides_swapped() -> None:
    asked = pairs(24, 5)
    for schedule in make_schedules(asked, 5, count=20, trials=40, catch=4, repeats=3, seed=2):
        assert len(schedule) == 47
        catches = [at for at, trial in enumerate(schedule) if trial.kind == "catch"]
        assert [at * 4 // 47 for at in catches] == pytest.approx([0, 1, 2, 3], abs=1) and len(set(catches)) == 4
        assert Counter(schedule[at].side for at in catches) == {"left": 2, "right": 2}
        again = [(at, trial) for at, trial in enumerate(schedule) if trial.kind == "repeat"]
        assert len(again) == 3
        for at, trial in again:
            first = schedule.index(Trial("pair", trial.index, other_side(trial.side)))
            assert at - first > 3
        shown = [asked[trial.index].key for trial in schedule if trial.kind != "catch"]
        assert sum(one == two for one, two in pairwise(shown)) <= 1


def test_the_seed_alone_decides() -> None:
    def made(seed: int) -> list[list[Trial]]:
        return make_schedules(pairs(6, 3), 2, count=5, trials=10, catch=2, repeats=1, seed=seed)

    assert made(3) == made(3)
    assert made(3) != made(4)
    assert made(3)[0] != made(3)[1]


def test_more_repeats_than_half_are_refused() -> None:
    with pytest.raises(StudyError, match="of 6 pairs at most 3 can be repeated, not 4"):
        make_schedules(pairs(3, 2), 1, count=1, trials=10, catch=1, repeats=4, seed=0)
