"""The model of Bradley and Terry (1952): P(i is preferred to j) = sigmoid(s_i - s_j)."""

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.5
"""Votes for either side that every comparison made is thought to have beside its own, so that one that was never lost
has a finite strength (Haldane's correction)."""
STEPS = 200
LONGEST_STEP = 2.0
EXACT = 1e-10


def components(wins: NDArray[np.float64]) -> NDArray[np.int64]:
    """The group (K,) of each item, those that comparisons link; from wins (K, K) of row over column."""
    linked = (wins + wins.T > 0) | np.eye(len(wins), dtype=bool)
    for _ in range(len(wins)):
        linked = linked @ linked
    return np.unique(linked.argmax(1), return_inverse=True)[1].reshape(-1)


def strengths(wins: NDArray[np.float64], compared: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The strengths s (B, K) of largest likelihood from wins (B, K, K) of row over column; the mean of a group is 0.

    `compared` (K, K), symmetric: comparisons that were made at all; they get PRIOR. Only differences within a group
    mean anything.
    """
    groups = components(compared.astype(np.float64))
    same = (groups[:, None] == groups[None, :]).astype(np.float64)
    won = wins + PRIOR * compared
    votes = won + won.transpose(0, 2, 1)  # (B, K, K)
    s = np.zeros(wins.shape[:2])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(s[:, None, :] - s[:, :, None]))  # (B, K, K), row over column
        gradient = (won - votes * p).sum(2)
        weight = votes * p * (1 - p)
        hessian = np.einsum("bij,ik->bik", weight, np.eye(len(groups))) - weight
        step = np.linalg.solve(hessian + same, gradient[..., None])[..., 0]
        s += np.clip(step, -LONGEST_STEP, LONGEST_STEP)
        if np.abs(step).max() < EXACT:
            break
    return s - (s @ same) / same.sum(1)
