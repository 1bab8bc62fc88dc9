"""Further tables of the page: what models cost beside codecs, and what selective compression kept."""

from collections.abc import Mapping

from gencomp.evaluation.page import Cell, Table, fixed
from gencomp.evaluation.practicality import Practicality, table
from gencomp.evaluation.selective import Selective


def costs_table(found: Practicality) -> Table:
    """Time, memory and weights of models and codecs, and after how many pictures the weights are paid for."""
    lines = table(found.costs)
    beside = list(dict.fromkeys(payoff.codec for line in lines for payoff in line.payoffs))
    columns = [
        *("Codec", "Bits per pixel", "LPIPS", "Encode, ms", "Decode, ms", "First picture, ms"),
        *("Memory to encode, MB", "Memory to decode, MB", "Decoder's weights, MB"),
        *(f"Pictures until they are paid for, beside {codec}" for codec in beside),
    ]
    rows = []
    for line in lines:
        cost = line.cost
        payoffs = {payoff.codec: payoff for payoff in line.payoffs}
        rows.append(
            [
                Cell(f"{cost.codec} {cost.setting}", f"{cost.codec} {cost.setting}"),
                _cell(cost.bpp, 4),
                _cell(cost.lpips, 3),
                *(_cell(value, 0) for value in (cost.encode_ms, cost.decode_ms, cost.first_ms)),
                *(_cell(value, 0) for value in (cost.encode_peak, cost.decode_peak)),
                _cell(cost.weights / 1e6, 1),
                *(
                    Cell(f"{payoff.pictures:,}", payoff.pictures)
                    if (payoff := payoffs.get(codec)) and payoff.pictures is not None
                    else Cell("\N{EN DASH}", "", payoffs[codec].why if codec in payoffs else "")
                    for codec in beside
                ),
            ]
        )
    note = f"{found.hardware}, {found.images} pictures: {found.protocol}. Paid for: by the bytes saved at equal LPIPS."
    return Table("What it costs", note, columns, rows)


def selective_table(found: Mapping[str, Selective]) -> Table:
    """What selective models kept, by variant."""
    columns = (
        *("Model", "Preserved, %", "Side information, % of the file", "PSNR inside, dB", "PSNR outside, dB"),
        "Seam, grey levels",
    )
    rows = [
        [
            Cell(name, name),
            _cell(100 * means.preserved, 1),
            _cell(100 * means.side_share, 1),
            *(_cell(value, 2) for value in (means.psnr_inside, means.psnr_outside, means.seam)),
        ]
        for name, means in found.items()
    ]
    note = "Means over the pictures, inside and outside of the region that was preserved, and across its border."
    return Table("Selective compression", note, columns, rows)


def _cell(value: float | None, digits: int) -> Cell:
    return Cell(fixed(value, digits), "" if value is None else value)
