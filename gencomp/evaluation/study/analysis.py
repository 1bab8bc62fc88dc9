"""What votes tell: who counts, what is preferred at which rate, a ranking, and where the other codec catches up."""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gencomp.evaluation.study.ballots import Ballot
from gencomp.evaluation.study.bradley_terry import components, strengths
from gencomp.evaluation.study.crossing import crossings, fit
from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.intervals import Share, percentiles, resampled, share

RESAMPLES = 2000
"""Of the bootstrap over participants."""


class Participant(NamedTuple):
    """One participant's part."""

    participant: str
    votes: int
    catch_right: int
    catch_asked: int
    counted: bool


class Preference(NamedTuple):
    """How often a model was preferred to another codec at one rung, or to another model."""

    model: str
    model_setting: str
    other: str
    other_setting: str
    """Empty for a codec, whose setting follows the rung."""
    ratio: float | None
    """The rung; None between two models."""
    pictures: int
    preferred: Share
    """The model's share of the votes; repeated pairs do not count."""
    model_bpp: float
    """Bits per pixel, mean over the pictures voted on."""
    other_bpp: float
    actual_ratio: float
    """Bytes of the other to bytes of the model, geometric mean over the pictures voted on."""


class Strength(NamedTuple):
    """An item's place in the ranking."""

    item: str
    strength: float
    """Of Bradley and Terry; the mean of a group is 0, and ln 3 more is preferred in three of four votes."""
    low: float | None
    """None of a single participant."""
    high: float | None
    group: int
    """Items of two groups were never compared, not even through others."""


class Crossing(NamedTuple):
    """The ratio of bytes at which a codec is preferred as often as a model.

    Of ratios, 0 stands for one below the lowest that was shown, and None for one above the highest.
    """

    model: str
    model_setting: str
    other: str
    tested_low: float
    """The smallest ratio of bytes that was shown."""
    tested_high: float
    state: Literal["crossed", "preferred throughout", "never preferred"]
    ratio: float | None
    low: float | None
    """Ends of the interval; 0 and None of a single participant."""
    high: float | None
    saved: float | None
    """The share of the other's bytes that the model saves at the crossing, 1 - 1 / ratio; None where not crossed."""
    bpp: float | None
    """Of the other at the crossing: the ratio times the model's mean; None where not crossed."""
    beaten_up_to: float | None
    """The highest rung up to which the interval of every preference lies above one half; None: not even the lowest."""
    intercept: float
    """Of the logistic curve over log2 of the ratio."""
    slope: float


class Results(NamedTuple):
    """All of it."""

    rule: str
    """Who counts."""
    participants: list[Participant]
    votes: int
    """Votes on pairs that count, repeats left out."""
    seconds: float
    """Median of the time for one of them, by the browsers' clocks."""
    consistent: Share
    """Repeated pairs on which the participant decided as before, though the sides were swapped."""
    left: Share
    """Votes that went to the left side: about half where nobody leans."""
    preferences: list[Preference]
    ranking: list[Strength]
    crossings: list[Crossing]


def analyse(ballots: Sequence[Ballot], catch_share: float, seed: int) -> Results:
    """What the votes tell of those who got `catch_share` of their catch trials right. Raises StudyError."""
    if len({(one.participant, one.trial) for one in ballots}) < len(ballots):
        raise StudyError("a participant has two votes on one trial: give the votes of one study, once")
    participants = _participants(ballots, catch_share)
    counted = {one.participant: number for number, one in enumerate(one for one in participants if one.counted)}
    kept = [one for one in ballots if one.participant in counted]
    pairs = [one for one in kept if one.kind == "pair"]
    if not pairs:
        raise StudyError(f"no votes to analyse: {len(participants)} participants, of whom {len(counted)} count")
    weights = resampled(len(counted), RESAMPLES, np.random.default_rng(seed))
    preferences = _preferences(pairs)
    return Results(
        rule=f"a participant counts who got at least {catch_share:.0%} of the catch trials that they met right, "
        "having met one",
        participants=participants,
        votes=len(pairs),
        seconds=median(one.client_ms for one in pairs) / 1000,
        consistent=_consistent(kept),
        left=share(sum(one.choice == "left" for one in pairs), len(pairs)),
        preferences=preferences,
        ranking=_ranking(pairs, counted, weights),
        crossings=_crossings(pairs, counted, weights, preferences),
    )


def _participants(ballots: Sequence[Ballot], catch_share: float) -> list[Participant]:
    by_participant: dict[str, list[Ballot]] = defaultdict(list)
    for one in ballots:
        by_participant[one.participant].append(one)
    found = []
    for name, theirs in by_participant.items():
        catch = [one.won for one in theirs if one.kind == "catch"]
        counts = bool(catch) and sum(catch) >= catch_share * len(catch)
        found.append(Participant(name, len(theirs), sum(catch), len(catch), counts))
    return found


def _consistent(ballots: Sequence[Ballot]) -> Share:
    first = {(one.participant, *_files(one)): one.won for one in ballots if one.kind == "pair"}
    again = [((one.participant, *_files(one)), one.won) for one in ballots if one.kind == "repeat"]
    met = [first[which] == won for which, won in again if which in first]
    return share(sum(met), len(met))


def _files(one: Ballot) -> tuple[str, str, str, str, str]:
    return one.key, one.model, one.model_setting, one.other, one.other_setting


def _preferences(pairs: Sequence[Ballot]) -> list[Preference]:
    """By model, other codec, and rung."""
    groups: dict[tuple[str, str, str, str, float | None], list[Ballot]] = defaultdict(list)
    for one in pairs:
        setting = one.other_setting if one.ratio is None else ""
        groups[one.model, one.model_setting, one.other, setting, one.ratio].append(one)
    found = []
    for which in sorted(groups, key=lambda which: (*which[:4], which[4] or 0.0)):
        votes = groups[which]
        shown = list({one.key: one for one in votes}.values())
        found.append(
            Preference(
                *which,
                pictures=len(shown),
                preferred=share(sum(one.won for one in votes), len(votes)),
                model_bpp=_mean([(one.model_bytes or 0) * 8 / one.pixels for one in shown]),
                other_bpp=_mean([(one.other_bytes or 0) * 8 / one.pixels for one in shown]),
                actual_ratio=2 ** _mean([_log_ratio(one) for one in shown]),
            )
        )
    return found


def _ranking(pairs: Sequence[Ballot], counted: dict[str, int], weights: NDArray[np.float64]) -> list[Strength]:
    """Strongest first; a codec is an item at each rung of each model, since its bytes follow the model's."""
    ends = [(_model(one), _other(one)) for one in pairs]
    items = list(dict.fromkeys(item for both in ends for item in both))
    number = {item: at for at, item in enumerate(items)}
    wins = np.zeros((len(counted), len(items), len(items)))  # by participant, of row over column
    for one, (model, other) in zip(pairs, ends, strict=True):
        winner, loser = (model, other) if one.won else (other, model)
        wins[counted[one.participant], number[winner], number[loser]] += 1
    total = wins.sum(0)
    compared = total + total.T > 0
    found = strengths(total[None], compared)[0]
    samples = strengths(np.tensordot(weights, wins, 1), compared)  # (B, K)
    groups = components(total)
    ranked = []
    for at in sorted(range(len(items)), key=lambda at: (groups[at], -found[at])):
        low, high = percentiles(samples[:, at]) if len(counted) > 1 else (None, None)
        ranked.append(Strength(items[at], float(found[at]), low, high, int(groups[at])))
    return ranked


def _crossings(
    pairs: Sequence[Ballot], counted: dict[str, int], weights: NDArray[np.float64], preferences: Sequence[Preference]
) -> list[Crossing]:
    groups: dict[tuple[str, str, str], list[Ballot]] = defaultdict(list)
    for one in pairs:
        if one.ratio is not None:
            groups[one.model, one.model_setting, one.other].append(one)
    found = []
    for which in sorted(groups):
        votes = groups[which]
        rungs = [one for one in preferences if one[:3] == which and one.ratio is not None]
        if len(rungs) > 1:  # a curve needs two rates
            found.append(_crossing(which, votes, counted, weights, rungs))
    return found


def _crossing(
    which: tuple[str, str, str],
    votes: Sequence[Ballot],
    counted: dict[str, int],
    weights: NDArray[np.float64],
    rungs: Sequence[Preference],
) -> Crossing:
    ratios = sorted({_log_ratio(one) for one in votes})
    number = {ratio: at for at, ratio in enumerate(ratios)}
    won, of = (np.zeros((len(counted), len(ratios))) for _ in range(2))
    for one in votes:
        place = counted[one.participant], number[_log_ratio(one)]
        won[place] += one.won
        of[place] += 1
    x, (lowest, highest) = np.array(ratios), (ratios[0], ratios[-1])
    curve = fit(x, won.sum(0)[None], of.sum(0)[None])
    at = float(crossings(curve, lowest, highest)[0])
    low, high = -math.inf, math.inf
    if len(counted) > 1:
        low, high = percentiles(crossings(fit(x, weights @ won, weights @ of), lowest, highest))
    crossed = math.isfinite(at)
    bpp = _mean([(one.model_bytes or 0) * 8 / one.pixels for one in {one.key: one for one in votes}.values()])
    beaten = None
    for rung in rungs:
        if rung.preferred.low <= 0.5:
            break
        beaten = rung.ratio
    return Crossing(
        *which,
        tested_low=2**lowest,
        tested_high=2**highest,
        state="crossed" if crossed else "preferred throughout" if at > 0 else "never preferred",
        ratio=_ratio(at),
        low=_ratio(low),
        high=_ratio(high),
        saved=1 - 2**-at if crossed else None,
        bpp=bpp * 2**at if crossed else None,
        beaten_up_to=beaten,
        intercept=float(curve.intercept[0]),
        slope=float(curve.slope[0]),
    )


def _ratio(logarithm: float) -> float | None:
    return None if logarithm == math.inf else 2**logarithm


def _log_ratio(one: Ballot) -> float:
    assert one.model_bytes and one.other_bytes  # those of pairs
    return math.log2(one.other_bytes / one.model_bytes)


def _model(one: Ballot) -> str:
    return f"{one.model} {one.model_setting}"


def _other(one: Ballot) -> str:
    if one.ratio is None:
        return f"{one.other} {one.other_setting}"
    return f"{one.other} at {one.ratio:g} x {_model(one)}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
