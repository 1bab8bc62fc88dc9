"""Ten thousand damaged streams, in the slow suite twenty: each is refused in one line or decodes, within a second; of
those that decode, some are drawn."""

from collections import Counter

import pytest

from benchmarks.fuzz import Seed, Share, corpus, mutants, outcomes, restamped, rows, share, survive
from gencomp.codec.container import StreamError, parse


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return corpus()


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 8))])
def test_no_damage_does_more_than_be_refused(seeds: list[Seed], seed: int) -> None:
    found = list(outcomes(mutants(seeds, 2500, seed), every=40, pictures=10))
    kinds = Counter(outcome.kind for outcome in found)
    assert {*kinds} == {"refused", "decoded", "drawn"}
    assert kinds["drawn"] == 10
    assert min(kinds["refused"], kinds["decoded"]) > 200
    assert max(outcome.seconds for outcome in found) < 1


def test_those_that_decode_are_drawn_and_no_others(seeds: list[Seed]) -> None:
    damaged = list(mutants(seeds, 60, 3))
    symbols = [survive(chosen.codec, mutant, draw=False).kind for chosen, mutant in damaged]
    whole = [i for i, kind in enumerate(symbols) if kind == "decoded"]
    assert 10 < len(whole) < 50
    drawn = [i for i, one in enumerate(outcomes(damaged, every=3, pictures=3)) if one.kind == "drawn"]
    assert drawn == whole[2:9:3]


def test_drawing_alone_ends_once_there_are_enough_pictures() -> None:
    found = share(5, 1000, 4, drawn_only=True).found
    assert found["drawn"] == 4 and found["decoded"] == 0
    assert found.total() < 100


def test_too_few_pictures_and_anything_unforeseen_miss_their_bars() -> None:
    def missed(pictures: int, **more: int) -> set[str]:
        shares = [Share(Counter(refused=5, decoded=3, drawn=2, **more), 0.1, 1.0)] * 2
        return {row.name for row in rows(shares, pictures) if row.met is False}

    assert missed(4) == set()
    assert missed(5) == {"of them drawn"}
    assert missed(4, IndexError=1) == {"anything else"}


def test_mutants_are_the_same_for_the_same_seed_and_most_have_a_checksum_that_fits(seeds: list[Seed]) -> None:
    first, again, other = ([mutant for _, mutant in mutants(seeds, 300, seed)] for seed in (1, 1, 2))
    assert first == again != other
    assert len({*first}) > 250
    stale = sum(restamped(mutant) != mutant for mutant in first)
    assert 10 < stale < 60


def test_the_corpus_decodes_whole(seeds: list[Seed]) -> None:
    assert {parse(seed.stream).header.entropy for seed in seeds} == {"raw", "static", "context"}
    assert {parse(seed.stream).header.mode for seed in seeds} == {"gc", "sc"}
    assert {parse(seed.stream).header.version for seed in seeds if seed.codec.package.config.mode == "sc"} == {0, 1}
    for seed in seeds:
        assert survive(seed.codec, seed.stream, draw=True).kind == "drawn"


def test_a_larger_size_than_the_limit_is_refused_before_anything_is_allocated(seeds: list[Seed]) -> None:
    for seed in seeds:
        bomb = restamped(seed.stream[:7] + bytes([seed.stream[7] & 0x80 | 0x3F]) + b"\xff\xff\xff" + seed.stream[11:])
        with pytest.raises(StreamError, match="over the limit"):
            seed.codec.decode_symbols(bomb)
