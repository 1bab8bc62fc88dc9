"""Published figures carry their source, and stay apart from measured ones."""

import re

import pytest

from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.published import published


def test_every_row_has_a_source_and_a_protocol_and_figures_that_make_sense() -> None:
    rows = published()
    assert rows
    assert len({(row.dataset, row.codec, row.setting) for row in rows}) == len(rows)
    for row in rows:
        assert re.search(r"arXiv \d{4}\.\d{5}|doi\.org/10\.|https://", row.source) and row.protocol
        assert not re.search("unknown|later work", row.source)
        assert 0.01 < row.bpp < 0.1
        assert row.lpips_alex is not None and 0.05 < row.lpips_alex < 0.7
        assert row.dists is not None and 0.03 < row.dists < row.lpips_alex
        assert row.fid is not None and 2 < row.fid < 10


def test_one_set_of_pictures_can_be_asked_for() -> None:
    found = {row.codec: row for row in published("clic2020-test")}
    assert set(found) == {"StableCodec", "AEIC-SE", "CoD-Lite"}
    assert found["AEIC-SE"].figure("lpips_alex") == 0.115
    assert found["AEIC-SE"].figure("psnr") is found["AEIC-SE"].figure("lpips_vgg") is None
    assert published("elsewhere") == []


@pytest.mark.parametrize("row", published(), ids=lambda row: f"{row.dataset} {row.codec}")
def test_no_published_codec_bears_the_name_of_a_measured_one(row: object) -> None:
    assert getattr(row, "codec", None) not in CODECS  # these are lower case
