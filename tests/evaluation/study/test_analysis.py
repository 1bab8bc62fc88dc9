"""What votes tell, against closed forms, scipy, and raters whose preferences are known."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import optimize, stats

from gencomp.cli import main
from gencomp.evaluation.study.analysis import Results, analyse
from gencomp.evaluation.study.ballots import Ballot, ballots_csv, read_ballots
from gencomp.evaluation.study.bradley_terry import components, strengths
from gencomp.evaluation.study.crossing import RIDGE, crossings, fit
from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.intervals import percentiles, resampled, share
from gencomp.evaluation.study.plan import Side, Study, Trial, other_side
from gencomp.evaluation.study.results import crossing_sentence, results_html, results_json, results_text
from tests.evaluation.study.served import Rater, cast


def careless(study: Study, trial: Trial) -> Side:
    """Never looks."""
    return "left"


def simulated(study: Study, seed: int, raters: int = 30) -> list[Ballot]:
    """One half at twice the bytes."""
    found = []
    for number in range(raters):
        rater = Rater(crossing=2.0, slope=1.2, seed=1000 * seed + number)
        found += cast(study, number % len(study.schedules), f"rater{number}", rater.choice)
    return found


@pytest.mark.parametrize(("yes", "of"), [(0, 1), (1, 1), (0, 20), (7, 20), (95, 100), (500, 1000), (40, 40)])
def test_shares_have_wilsons_interval(yes: int, of: int) -> None:
    expected = stats.binomtest(yes, of).proportion_ci(0.95, method="wilson")
    assert share(yes, of)[3:] == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_has_no_share() -> None:
    assert share(0, 0) == (0, 0, None, 0.0, 1.0)


def test_two_items_have_the_logarithm_of_their_odds() -> None:
    wins = np.array([[[0.0, 30.0], [10.0, 0.0]]])
    found = strengths(wins, wins[0] > 0)[0]
    assert found[0] - found[1] == pytest.approx(math.log(30.5 / 10.5), abs=1e-9)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_strengths_are_those_of_largest_likelihood() -> None:
    generator = np.random.default_rng(3)
    wins = generator.integers(0, 30, (4, 5, 5)).astype(float) * (1 - np.eye(5))
    wins[0, 4, :] = 0  # never preferred to anything
    compared = (wins.sum(0) + wins.sum(0).T) > 0
    for one, found in zip(wins, strengths(wins, compared), strict=True):
        won = one + 0.5 * compared

        def loss(s: np.ndarray, won: np.ndarray = won) -> float:
            return float((won * np.log1p(np.exp(s[None, :] - s[:, None]))).sum())

        best = optimize.minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
        assert found == pytest.approx(best - best.mean(), abs=1e-5)


def test_items_that_nothing_links_are_in_groups_of_their_own() -> None:
    wins = np.zeros((5, 5))
    wins[0, 3] = wins[3, 1] = 4
    wins[2, 4] = 3
    groups = components(wins)
    assert groups[0] == groups[1] == groups[3] != groups[2] == groups[4]
    found = strengths(wins[None], wins + wins.T > 0)[0]
    assert found[[2, 4]].sum() == pytest.approx(0, abs=1e-9)
    assert found[2] - found[4] == pytest.approx(math.log(3.5 / 0.5), abs=1e-9)


def test_a_curve_through_two_rates_is_their_odds_and_crosses_where_they_meet_one_half() -> None:
    won, of = np.array([[300.0, 100.0], [280.0, 120.0]]), np.array([[400.0, 400.0]] * 2)
    curve = fit(np.array([0.0, 2.0]), won, of)
    odds = np.log(won / (of - won))
    assert curve.intercept == pytest.approx(odds[:, 0], abs=1e-4)
    assert curve.slope == pytest.approx((odds[:, 1] - odds[:, 0]) / 2, abs=1e-4)
    assert crossings(curve, 0.0, 2.0) == pytest.approx([1.0, 1.0], abs=1e-4)


def test_a_curve_is_the_one_of_largest_likelihood() -> None:
    generator = np.random.default_rng(4)
    x = np.linspace(-1, 2, 9)
    of = generator.integers(1, 20, (3, 9)).astype(float)
    won = np.floor(of * generator.random((3, 9)))
    won[2] = of[2] * (x < 0.5)  # perfectly divided
    curve = fit(x, won, of)
    for at in range(3):

        def loss(p: np.ndarray, at: int = at) -> float:
            z = p[0] + p[1] * x
            lost = won[at] * np.log1p(np.exp(-z)) + (of[at] - won[at]) * np.log1p(np.exp(z))
            return float(lost.sum() + RIDGE / 2 * (p**2).sum())

        best = optimize.minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x
        assert (curve.intercept[at], curve.slope[at]) == pytest.approx(tuple(best), rel=1e-3, abs=1e-4)
    assert 0.125 < crossings(curve, -1, 2)[2] < 0.875


def test_what_does_not_fall_to_one_half_where_it_was_asked_crosses_nowhere() -> None:
    x, of = np.array([0.0, 1.0]), np.full((4, 2), 100.0)
    won = np.array([[90.0, 80.0], [20.0, 10.0], [70.0, 90.0], [10.0, 30.0]])
    assert crossings(fit(x, won, of), 0.0, 1.0).tolist() == [math.inf, -math.inf, math.inf, -math.inf]


def test_resamples_draw_as_many_participants_as_there_are() -> None:
    weights = resampled(7, 500, np.random.default_rng(0))
    assert weights.shape == (500, 7) and (weights.sum(1) == 7).all()
    assert weights.mean(0) == pytest.approx(np.ones(7), abs=0.2)
    assert percentiles(np.array([-math.inf, *range(998), math.inf])) == pytest.approx((24, 973), abs=1)


@pytest.fixture(scope="module")
def votes(study: Study) -> list[Ballot]:
    """Of thirty raters, three careless ones, and one who left before the first catch trial."""
    found = simulated(study, seed=1)
    for number in range(3):
        found += cast(study, number, f"careless{number}", careless)
    gone = cast(study, 3, "gone", Rater(2.0, 1.2, 9).choice)
    first = next(at for at, one in enumerate(gone) if one.kind == "catch")
    return found + gone[:first]


@pytest.fixture(scope="module")
def results(votes: list[Ballot]) -> Results:
    return analyse(votes, 0.8, seed=0)


def test_known_preferences_are_recovered_within_their_intervals(results: Results) -> None:
    rater = Rater(2.0, 1.2, 0)
    assert [(one.ratio, one.actual_ratio, one.pictures) for one in results.preferences] == [
        (ratio, pytest.approx(ratio), 4) for ratio in (1.0, 2.0, 4.0)
    ]
    for one in results.preferences:
        assert one.preferred.of == 30 * 3
        assert one.preferred.low < rater.probability(one.ratio or 0) < one.preferred.high
    (crossing,) = results.crossings
    assert crossing.low and crossing.high and 1 < crossing.low < 2.0 < crossing.high < 4
    assert crossing.saved == pytest.approx(1 - 1 / (crossing.ratio or 0))
    ours = next(one for one in results.ranking if one.item == "ours c4")
    for one in results.ranking:
        if one is not ours:
            ratio = float(re.findall("at ([0-9.]+) x", one.item)[0])
            known = math.log(rater.probability(ratio) / (1 - rater.probability(ratio)))
            assert (ours.low or 0) - (one.high or 0) < known < (ours.high or 0) - (one.low or 0)
    order = [one.item for one in results.ranking if one is not ours]
    assert order == [f"theirs at {ratio} x ours c4" for ratio in (4, 2, 1)]


def test_who_does_not_look_is_left_out_and_named(votes: list[Ballot], results: Results, study: Study) -> None:
    out = {one.participant: one for one in results.participants if not one.counted}
    assert set(out) == {"careless0", "careless1", "careless2", "gone"}
    for one in out.values():
        theirs = [vote for vote in votes if vote.participant == one.participant and vote.kind == "catch"]
        assert (one.catch_right, one.catch_asked) == (sum(vote.won for vote in theirs), len(theirs))
    assert out["gone"].catch_asked == 0
    assert "at least 80% of the catch trials" in results.rule
    assert "left out: careless0, " in results_text(results)
    assert len([one for one in analyse(votes, 0.0, 0).participants if one.counted]) == 33


def test_sides_and_repeats_are_counted(study: Study, results: Results) -> None:
    steady = cast(study, 0, "steady", lambda study, trial: trial.side)
    leaning = cast(study, 1, "leaning", lambda _, trial: trial.side if trial.kind == "catch" else "left")
    both = analyse(steady + leaning, 0.8, 0)
    assert (both.consistent.yes, both.consistent.of) == (2, 4)  # who always goes left contradicts both repeats
    wins = sum(one.choice == "left" for one in steady if one.kind == "pair")
    assert (both.left.yes, both.left.of) == (wins + 9, 18)
    assert results.consistent.of == 60 and results.left.low < 0.5 < results.left.high


def test_intervals_of_the_crossing_cover_it_as_often_as_they_say(study: Study) -> None:
    inside = 0
    for seed in range(30):
        (one,) = analyse(simulated(study, seed), 0.8, seed).crossings
        inside += (one.low or 0) <= 2.0 <= (one.high or math.inf)
    assert inside >= 25, inside  # of 30 at 95 %: fewer has a probability of 1 in 300


def test_what_is_always_or_never_preferred_is_said_so(study: Study) -> None:
    always = [one for n in range(4) for one in cast(study, n, f"p{n}", lambda _, trial: trial.side)]
    (one,) = analyse(always, 0.8, 0).crossings
    assert (one.state, one.ratio, one.low, one.high, one.beaten_up_to) == ("preferred throughout", None, None, None, 4)
    assert "is preferred even where theirs spends 4.00 times its bytes" in crossing_sentence(one)
    never = [
        one
        for n in range(4)
        for one in cast(
            study, n, f"p{n}", lambda _, trial: trial.side if trial.kind == "catch" else other_side(trial.side)
        )
    ]
    (one,) = analyse(never, 0.8, 0).crossings
    assert (one.state, one.ratio, one.low, one.high, one.beaten_up_to) == ("never preferred", 0, 0, 0, None)
    assert crossing_sentence(one).startswith("theirs is preferred to ours c4 from 1.00 times its bytes on")


def test_one_participant_has_no_interval(study: Study) -> None:
    alone = analyse(cast(study, 0, "alone", Rater(2.0, 1.2, 0).choice), 0.8, 0)
    assert all(one.low is None and one.high is None for one in alone.ranking)
    assert (alone.crossings[0].low, alone.crossings[0].high) == (0, None)


def test_nobody_who_counts_is_refused(study: Study) -> None:
    with pytest.raises(StudyError, match="no votes to analyse: 1 participants, of whom 0 count"):
        analyse(cast(study, 0, "careless", careless), 1.0, 0)
    twice = cast(study, 0, "twice", careless)
    with pytest.raises(StudyError, match="two votes on one trial"):
        analyse(twice + twice, 0.8, 0)


def test_an_export_is_analysed_as_its_votes_are(votes: list[Ballot], results: Results, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(ballots_csv(votes))
    assert read_ballots(path) == votes
    run = CliRunner().invoke(
        main, ["study", "analyse", str(path), "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    )
    assert run.exit_code == 0, run.output
    assert run.stdout == results_text(results)
    assert (tmp_path / "r.json").read_text() == results_json(results)
    assert (tmp_path / "r.html").read_text() == results_html(results)
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["preferences"][0]["preferred"]["of"] == 90
    assert told["crossings"][0]["ratio"] == pytest.approx(results.crossings[0].ratio)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("participant,", "person,", "no column participant; `gencomp study export` writes such tables"),
        (",left,", ",up,", "line 2: not a vote ('up' is none of left, right)"),
        (",right,", ",up,", "line 2: not a vote ('up' is none of left, right)"),
        (",1500,", ",soon,", "line 2: not a vote (invalid literal"),
        (",500,", ",,", "line 2: not a vote (a pair needs the bytes of both files)"),
    ],
)
def test_tables_that_are_no_votes_are_refused(study: Study, tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = tmp_path / "votes.csv"
    rows = [one for one in cast(study, 0, "one", lambda _, trial: other_side(trial.side)) if one.kind == "pair"]
    text = ballots_csv(sorted(rows, key=lambda one: (one.side != "left", one.trial)))
    assert old in text
    path.write_text(text.replace(old, new, 1))
    run = CliRunner().invoke(main, ["study", "analyse", str(path)])
    assert (run.exit_code, run.stdout) == (2, "")
    assert run.stderr.startswith(f"gencomp: {path}") and reason in run.stderr and run.stderr.count("\n") == 1


def test_the_page_of_results_loads_nothing_and_shows_every_rung(results: Results) -> None:
    html = results_html(results)
    assert re.findall(r"(?:src|href)=\"(?!data:,)[^\"]", html) == []
    assert html.count("<circle") == 3 and crossing_sentence(results.crossings[0]) in html
    assert Counter(re.findall(r"x[124]\b(?=</text>)", html)) == {"x1": 1, "x2": 1, "x4": 1}
