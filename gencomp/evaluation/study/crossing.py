"""How many more bytes the other codec must spend until it is preferred as often as the model."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-3
"""Weight of half the sum of squares of the two parameters: it keeps them finite where votes are perfectly divided."""
STEPS = 200
LONGEST_STEP = 2.0
EXACT = 1e-10


class Curve(NamedTuple):
    """P(the model is preferred) = sigmoid(intercept + slope log2(bytes of the other / bytes of the model))."""

    intercept: NDArray[np.float64]
    """(B,)"""
    slope: NDArray[np.float64]
    """(B,)"""


def fit(x: NDArray[np.float64], won: NDArray[np.float64], of: NDArray[np.float64]) -> Curve:
    """Logistic regressions of largest likelihood, less RIDGE: log2 of the ratios x (n,), wins and votes (B, n)."""
    a, b = np.zeros(len(won)), np.zeros(len(won))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * x)))
        rest, weight = won - of * p, of * p * (1 - p)
        gradient_a, gradient_b = rest.sum(1) - RIDGE * a, rest @ x - RIDGE * b
        aa, ab, bb = weight.sum(1) + RIDGE, weight @ x, weight @ x**2 + RIDGE
        determinant = aa * bb - ab**2
        step_a = (bb * gradient_a - ab * gradient_b) / determinant
        step_b = (aa * gradient_b - ab * gradient_a) / determinant
        longest = np.maximum(np.abs(step_a), np.abs(step_b))
        shrink = np.minimum(1, LONGEST_STEP / np.maximum(longest, 1e-300))
        a, b = a + shrink * step_a, b + shrink * step_b
        if longest.max() < EXACT:
            break
    return Curve(a, b)


def crossings(curve: Curve, low: float, high: float) -> NDArray[np.float64]:
    """log2 of the ratio (B,) at which the curve falls to one half.

    -inf where the model is not preferred from `low` (log2) on, inf where it still is at `high`, or where its share
    does not fall and is above one half in the middle.
    """
    a, b = curve
    middle = a + b * (low + high) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(b < 0, -a / b, np.where(middle > 0, np.inf, -np.inf))
    return np.where(at < low, -np.inf, np.where(at > high, np.inf, at))
