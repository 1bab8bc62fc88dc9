"""Twenty thousand damaged streams: each is refused in one line or decodes, within a second."""

import pytest

from benchmarks.fuzz import Outcome, Seed, corpus, mutants, restamped, survive
from gencomp.codec.container import StreamError, parse


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return corpus()


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_does_more_than_be_refused(seeds: list[Seed], seed: int) -> None:
    outcomes: list[Outcome] = []
    for number, (chosen, mutant) in enumerate(mutants(seeds, 2500, seed)):
        outcomes.append(survive(chosen.codec, mutant, draw=number % 250 == 0))
    kinds = [outcome.kind for outcome in outcomes]
    assert {*kinds} == {"refused", "decoded"}
    assert min(kinds.count(kind) for kind in ("refused", "decoded")) > 200
    assert max(outcome.seconds for outcome in outcomes) < 1


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
        assert survive(seed.codec, seed.stream, draw=True).kind == "decoded"


def test_a_larger_size_than_the_limit_is_refused_before_anything_is_allocated(seeds: list[Seed]) -> None:
    for seed in seeds:
        bomb = restamped(seed.stream[:7] + bytes([seed.stream[7] & 0x80 | 0x3F]) + b"\xff\xff\xff" + seed.stream[11:])
        with pytest.raises(StreamError, match="over the limit"):
            seed.codec.decode_symbols(bomb)
