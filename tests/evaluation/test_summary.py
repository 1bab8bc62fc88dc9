"""The three sentences."""

from gencomp.evaluation.bootstrap import Interval
from gencomp.evaluation.equal_bytes import EqualBytes
from gencomp.evaluation.metrics import METRICS
from gencomp.evaluation.rates import MetricName
from gencomp.evaluation.summary import Result, listed, sentences


def row(title: str, size: float, lpips: float, too_large: int = 0, *, model: bool = False) -> EqualBytes:
    figures: dict[MetricName, Interval] = {"lpips_alex": Interval(lpips, lpips, lpips), "psnr": Interval(21.5, 20, 23)}
    return EqualBytes(title, title, model, size, size / 8192, size / 200, figures, too_large, 4)


OWN = row("gc", 200, 0.36, model=True)


def result(*anchors: EqualBytes, violations: int = 0, mismatches: int = 0) -> Result:
    return Result("gc", "photos", [OWN, *anchors], METRICS["lpips_alex"], violations, mismatches)


def test_the_sentences_say_what_is_spent_what_codecs_do_with_it_and_that_files_are_exact() -> None:
    anchors = row("JPEG 2000", 190, 0.6), row("BPG", 260, 0.4, 3), row("JPEG", 1200, 0.5, 4), row("AVIF", 900, 0.3, 4)
    assert sentences([result(*anchors)]) == [
        "On a picture of photos, gc spends 200 bytes (0.0244 bpp, LPIPS 0.360, 21.50 dB).",
        "With the bytes of gc on photos, JPEG 2000 reaches LPIPS 0.600; BPG goes that low for 1 of 4 pictures; "
        "JPEG and AVIF cannot go that low, with smallest files 6.0 and 4.5 times as large.",
        "Every file (4) decodes to exactly the symbols that were encoded, and none is above its bound.",
    ]


def test_a_codec_whose_nearest_files_leave_bytes_over_is_told_with_its_share() -> None:
    found = sentences([result(row("VVC intra", 142, 0.5), row("BPG", 180, 0.4), row("AVIF", 178, 0.45))])
    assert found[1] == (
        "With the bytes of gc on photos, VVC intra reaches LPIPS 0.500 with 0.71 of them, BPG reaches LPIPS 0.400 "
        "and AVIF reaches LPIPS 0.450 with 0.89 of them."
    )


def test_the_set_whose_bytes_are_told_is_named_where_its_name_tells_anything() -> None:
    others = result(row("JPEG", 190, 0.5)), result(row("JPEG", 190, 0.7))._replace(pictures="streets")
    assert sentences(others, focus=1)[1] == "With the bytes of gc on streets, JPEG reaches LPIPS 0.700."
    nameless = others[0]._replace(pictures="")
    assert sentences([nameless])[1] == "With the bytes of gc, JPEG reaches LPIPS 0.500."


def test_faults_are_counted_over_all_variants_and_condemn() -> None:
    _, _, exact = sentences([result(violations=1), result(mismatches=70)])
    assert exact == "Of 8 files, 1 are above their bound, and 70 symbols came back changed: not fit for use."


def test_without_anchors_the_second_sentence_says_so() -> None:
    assert sentences([result()])[1] == "No classical codec was measured beside them."


def test_words_are_listed_as_people_write_them() -> None:
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
