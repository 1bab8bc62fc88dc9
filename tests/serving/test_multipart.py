"""Multipart bodies, against the encoder of httpx."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.serving.multipart import file_of
from gencomp.serving.refusal import Refusal

FORM = "multipart/form-data; boundary=xyz"


@given(st.binary(max_size=200) | st.sampled_from([b"\r\n", b"\r\n\r\n--", b"--xyz", b"\r", b"\n"]))
def test_the_file_of_a_form_comes_out_as_it_went_in(content: bytes) -> None:
    request = httpx.Request("POST", "http://x/", files={"f": ('a;b".png', content)}, data={"note": "filed"})
    assert file_of(request.read(), request.headers["content-type"]) == content


@given(st.binary(max_size=200))
def test_any_body_of_a_form_gives_a_file_or_one_refusal(body: bytes) -> None:
    for framed in (body, b"--xyz\r\n" + body, b'--xyz\r\nContent-Disposition: form-data; filename="a"' + body):
        for whole in (framed, framed + b"\r\n--xyz--\r\n"):
            try:
                assert file_of(whole, FORM) in whole
            except Refusal as refusal:
                assert refusal.status == 400


def test_other_bodies_are_left_alone() -> None:
    for content_type in ("", "image/png", "application/x-www-form-urlencoded", "multipart/mixed; boundary=xyz"):
        assert file_of(b"--xyz\r\n", content_type) == b"--xyz\r\n"


def test_a_quoted_boundary_and_a_preamble_are_understood() -> None:
    body = b'before\r\n--x y \r\nContent-Disposition: form-data; name=f; filename="a"\r\n\r\n1\r\n--x y--'
    assert file_of(body, 'Multipart/Form-Data; boundary="x y"') == b"1"


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"", "multipart/form-data", "no usable boundary"),
        (b"", f"multipart/form-data; boundary={'x' * 71}", "no usable boundary"),
        (b"", FORM, "cut off"),
        (b'--xyz\r\nContent-Disposition: form-data; filename="a"\r\n\r\n1', FORM, "cut off"),
        (b"--xyz\r\n" * 17 + b"--xyz--", FORM, "more than 16 parts"),
        (b"--xyz\r\nno end of the head\r\n--xyz--", FORM, "damaged"),
        (b"--xyz \tx\r\n\r\n\r\n--xyz--", FORM, "damaged"),
        (b"--xyz--", FORM, "must hold one file, and holds 0"),
        (b'--xyz\r\nA: filename=""\r\n\r\n' * 2 + b"--xyz--", FORM, "cut off|damaged|holds"),
        (b"--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--xyz--", FORM, "holds 0"),
    ],
)
def test_forms_without_one_file_are_refused(body: bytes, content_type: str, reason: str) -> None:
    with pytest.raises(Refusal, match=reason) as refused:
        file_of(body, content_type)
    assert refused.value.status == 400
