"""The arithmetic of the fairness table, and the files that it is made from."""

from pathlib import Path

import msgspec
import pytest

from gencomp.evaluation.practicality import (
    Cost,
    Point,
    Practicality,
    PracticalityError,
    decoder_bytes,
    payoff,
    read_practicality,
    size_at,
    table,
    write_practicality,
)
from gencomp.models.package import load_package, network_tensors
from gencomp.references import resolve

CURVE = tuple(
    Point(setting=str(setting), size=size, lpips=lpips)
    for setting, size, lpips in ((51, 1000.0, 0.6), (45, 2000.0, 0.5), (39, 4000.0, 0.3))
)


def cost(codec: str, **fields: object) -> Cost:
    usual: dict[str, object] = {
        **{"codec": codec, "setting": "1", "is_model": False, "bpp": 0.03, "size": 1500.0, "lpips": 0.4},
        **{"encode_ms": 10.0, "decode_ms": 5.0, "first_ms": 50.0, "encode_peak": 90.0, "decode_peak": 80.0},
        **{"weights": 0, "curve": ()},
    }
    return Cost(**(usual | fields))  # type: ignore[arg-type]


MODEL = cost("light-9", is_model=True, weights=4_000_000)
BPG = cost("BPG", curve=CURVE)


def test_bytes_at_equal_lpips_lie_on_the_curve_between_its_points() -> None:
    assert [size_at(CURVE, lpips) for lpips in (0.6, 0.5, 0.3)] == pytest.approx([1000, 2000, 4000])
    assert size_at(CURVE, 0.4) == pytest.approx(2000 * 2**0.5)
    assert size_at(CURVE, 0.29) is None and size_at(CURVE, 0.61) is None and size_at((), 0.5) is None
    assert size_at(reversed(CURVE), 0.4) == size_at(CURVE, 0.4)


def test_weights_are_paid_for_by_what_is_saved_picture_by_picture() -> None:
    found = payoff(MODEL, BPG)
    assert found.size == pytest.approx(2828.43, abs=0.01)
    assert found.saved == pytest.approx(1328.43, abs=0.01)
    assert found.pictures == 3012 and found.why == ""
    assert found.saved * found.pictures >= MODEL.weights > found.saved * (found.pictures - 1)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (cost("m", is_model=True, weights=9, size=3000.0), "it takes more bytes"),
        (cost("m", is_model=True, weights=9, lpips=0.2), "LPIPS 0.200 is not within the 0.300 to 0.600"),
    ],
)
def test_what_is_never_paid_for_says_why(model: Cost, why: str) -> None:
    found = payoff(model, BPG)
    assert found.pictures is None and found.why.startswith(why)


def test_a_table_has_all_lines_in_order_and_models_beside_every_codec_with_a_curve() -> None:
    avif = cost("AVIF", curve=CURVE[1:])
    lines = table([MODEL, BPG, cost("JPEG"), avif])
    assert [line.cost.codec for line in lines] == ["light-9", "BPG", "JPEG", "AVIF"]
    assert [found.codec for found in lines[0].payoffs] == ["BPG", "AVIF"]
    assert [line.payoffs for line in lines[1:]] == [(), (), ()]


def test_files_come_back_as_they_were_and_others_are_refused_in_one_line(tmp_path: Path) -> None:
    found = Practicality(hardware="CPU", images=3, protocol="as told", costs=(MODEL, BPG))
    write_practicality(tmp_path / "a.json", found)
    assert read_practicality(tmp_path / "a.json") == found
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.json").write_bytes(msgspec.json.encode({"hardware": "CPU"}))
    for name in ("b.json", "c.json", "none.json"):
        with pytest.raises(PracticalityError, match=name) as error:
            read_practicality(tmp_path / name)
        assert "\n" not in str(error.value)


def test_the_decoders_bytes_are_those_of_all_that_decoding_depends_on() -> None:
    folder = resolve("light-3")
    package = load_package(folder)
    half = 2 * sum(tensor.numel() for tensor in package.generator.state_dict().values())
    assert package.network is not None
    network = sum(tensor.nbytes for tensor in network_tensors(package.network).values())
    rest = sum((folder / name).stat().st_size for name in ("tables.json", "config.json"))
    assert decoder_bytes(folder) == half + network + rest
    with pytest.raises(PracticalityError, match="no model package"):
        decoder_bytes(folder / "none")
