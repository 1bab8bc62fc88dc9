"""The semantics s that selective compression conditions on: one-hot label ids and instance edges (section 3.3)."""

import torch
from torch import Tensor


def one_hot(labels: Tensor, edges: Tensor | None, classes: int) -> Tensor:
    """Label ids (N, H, W) int64 and instance edges (N, 1, H, W) in [0, 1] -> s (N, classes + 1, H, W) float32.

    An id outside [0, classes), such as that of unlabelled pixels, is zero in every class. The last channel holds the
    edges, zeros where there are none.
    """
    known = (labels >= 0) & (labels < classes)
    s = torch.zeros(len(labels), classes + 1, *labels.shape[1:], device=labels.device)
    s.scatter_(1, torch.where(known, labels, classes)[:, None], 1.0)
    s[:, classes:] = 0.0 if edges is None else edges
    return s
