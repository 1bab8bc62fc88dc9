"""Which settings are looked at as sets, and that each is measured on its own files."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gencomp.evaluation.distribution import PatchFeatures
from gencomp.evaluation.held_out import HeldOutImage
from gencomp.evaluation.rates import RateRow
from gencomp.evaluation.sets import measure_sets, near, nearest
from gencomp.weights.failure import MissingWeightsError
from tests.evaluation.conftest import photograph


def row(key: str, codec: str, setting: str, size: int) -> RateRow:
    return RateRow(key, codec, setting, 256, 256, size, None, None, 30.0, None)


def test_settings_within_reach_of_the_models_and_the_lowest_of_each_codec_are_looked_at() -> None:
    models = [row("a", "m", "low", 400), row("a", "m", "high", 1000)]
    anchors = [row("a", "jpeg", *point) for point in (("1", 3000), ("5", 4000))]
    anchors += [row("a", "webp", *point) for point in (("0", 900), ("5", 2000), ("10", 2001))]
    found = near(models, anchors)
    assert list(found) == [("m", "low"), ("m", "high"), ("jpeg", "1"), ("webp", "0"), ("webp", "5")]
    assert found["m", "high"] == 1000 * 8 / 256**2


def test_or_one_setting_of_each_codec_that_is_nearest_to_the_middle_of_the_models_rates() -> None:
    models = [row("a", "m", setting, size) for setting, size in (("1", 400), ("2", 800), ("3", 1000), ("4", 1600))]
    anchors = [row("a", "bpg", *point) for point in (("51", 350), ("48", 790), ("45", 1400))]
    anchors += [row("a", "avif", *point) for point in (("5", 1900), ("0", 1500))]
    found = nearest(models, anchors)
    assert list(found) == [*(("m", setting) for setting in "1234"), ("avif", "0"), ("bpg", "48")]
    assert found["avif", "0"] == 1500 * 8 / 256**2
    assert found["bpg", "48"] == 790 * 8 / 256**2


def test_a_setting_is_measured_on_its_own_files() -> None:
    try:
        features = PatchFeatures()
    except MissingWeightsError as error:
        pytest.skip(str(error))
    images = [HeldOutImage(name, photograph(name, 256, 256)) for name in ("chelsea", "rocket")]
    originals = {image.key: image.pixels for image in images}
    rows = [row(key, "jpeg", setting, 900) for key in originals for setting in ("1", "30")]

    def picture(one: RateRow) -> NDArray[np.uint8]:
        return originals[one.key] if one.setting == "30" else 255 - originals[one.key]

    negative, same = measure_sets(images, rows, [("jpeg", "1"), ("jpeg", "30")], features, picture)
    assert (negative.setting, same.setting) == ("1", "30") and same.figures.patches == 2
    assert negative.figures.kid is not None and same.figures.kid is not None
    assert negative.figures.kid > same.figures.kid
