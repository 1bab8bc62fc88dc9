"""q: exact centers forward, the soft assignment's gradient backward."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencomp.models.quantizer import Quantizer


def test_five_levels_have_the_papers_centers() -> None:
    assert Quantizer(5, 1.0).centers.tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40), st.integers(2, 9))
def test_every_output_is_exactly_the_nearest_center(values: list[float], levels: int) -> None:
    q = Quantizer(levels, 1.0)
    w = torch.tensor(values)
    w_hat = q(w)
    assert set(w_hat.tolist()) <= set(q.centers.tolist())
    assert torch.all((w - w_hat).abs() <= (w.unsqueeze(-1) - q.centers).abs().min(-1).values)


def test_values_undo_symbols() -> None:
    q = Quantizer(5, 1.0)
    assert torch.equal(q.symbols(q.values(torch.arange(5))), torch.arange(5))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_the_gradient_is_that_of_the_soft_assignment(sigma: float) -> None:
    """d/dw of sum_j softmax(-sigma |w - c_j|^2) c_j is 2 sigma Var(c) under the softmax."""
    q = Quantizer(5, sigma)
    w = torch.tensor([-3.0, -0.7, 0.1, 0.5, 1.9], dtype=torch.float64, requires_grad=True)
    q.double()(w).sum().backward()
    p = torch.softmax(-sigma * (w.detach().unsqueeze(-1) - q.centers) ** 2, -1)
    variance = (p * q.centers**2).sum(-1) - (p * q.centers).sum(-1) ** 2
    assert torch.allclose(w.grad, 2 * sigma * variance, rtol=1e-9)
    assert torch.all(w.grad > 0)
