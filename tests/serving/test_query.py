"""Parameters and Accept headers."""

import pytest

from gencomp.serving.query import Rate, kind_of, nothing, rate_of
from gencomp.serving.refusal import Refusal


def test_a_rate_is_what_was_asked_for() -> None:
    assert rate_of([]) == Rate()
    assert rate_of([("max_bpp", "0.02"), ("entropy", "raw")]) == Rate(max_bpp=0.02, entropy="raw")
    assert rate_of([("max_bytes", "1500")]) == Rate(max_bytes=1500)
    assert rate_of([("channels", "16")]) == Rate(channels=16)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([("max_bp", "1")], "unknown parameter 'max_bp': there is channels, max_bpp, max_bytes, entropy"),
        ([("channels", "1"), ("channels", "2")], "channels is given twice"),
        ([("channels", "0")], "channels must be a whole number from 1 on, not '0'"),
        ([("channels", "17")], "channels must be 1 to 16, not 17"),
        ([("channels", "four")], "channels must be a whole number"),
        ([("channels", "\u0661")], "channels must be a whole number"),
        ([("max_bytes", "1_000")], "max_bytes must be a whole number"),
        ([("max_bytes", "9" * 13)], "max_bytes must be a whole number"),
        ([("max_bpp", "nan")], "max_bpp must be a number above 0, not 'nan'"),
        ([("max_bpp", "inf")], "max_bpp must be a number above 0"),
        ([("max_bpp", "0")], "max_bpp must be a number above 0"),
        ([("max_bpp", "-1")], "max_bpp must be a number above 0"),
        ([("max_bpp", "1"), ("max_bytes", "9")], "exclude each other"),
        ([("entropy", "zip")], "entropy must be one of raw, static, context, not 'zip'"),
    ],
)
def test_rates_that_make_no_sense_are_refused_by_name(items: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        rate_of(items)
    assert refused.value.status == 422
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "png"),
        ("*/*", "png"),
        ("image/*", "png"),
        ("image/webp", "webp"),
        ("IMAGE/JPEG", "jpeg"),
        ("text/html, image/webp;q=0.8, image/jpeg;q=0.9", "jpeg"),
        ("image/png;q=0, */*", "jpeg"),
        ("image/webp, */*;q=0.8", "webp"),
        ("*/*, image/webp", "webp"),
        ("image/png;q=0.5, image/webp;q=high", "png"),
    ],
)
def test_the_accept_header_chooses_the_kind_of_picture(accept: str, kind: str) -> None:
    assert kind_of([], accept) == kind


def test_format_comes_before_the_accept_header() -> None:
    assert kind_of([("format", "webp")], "image/png") == "webp"
    assert kind_of([("format", "JPG")], "text/plain") == "jpeg"


@pytest.mark.parametrize(
    ("items", "accept", "status"),
    [
        ([], "text/html", 406),
        ([], "image/gif, image/png;q=0", 406),
        ([("format", "gif")], "", 422),
        ([("x", "")], "", 422),
    ],
)
def test_kinds_that_are_not_given_are_refused(items: list[tuple[str, str]], accept: str, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        kind_of(items, accept)
    assert refused.value.status == status


def test_a_parameter_where_none_is_known_is_refused() -> None:
    nothing([])
    with pytest.raises(Refusal, match="unknown parameter 'format': there is none here"):
        nothing([("format", "png")])
