"""The semantics s that selective compression conditions on: one-hot label ids and instance edges (section 3.3)."""

import torch
from torch import Tensor


def one_hot(labels: Tensor, edges: Tensor | None, classes: int) -> Tensor:
    """Label ids (N, H, W) int64 and instance edges (N, 1, H, W) in [0, 1] -> s (N, classes + 1, H, W) float32.

    An id outside [0, classes), such as 255 for unlabelled, is zero in every class. The last channel holds the edges,
    zeros where there are none.
    """
    ids = torch.arange(classes, device=labels.device)[:, None, None]
    planes = (labels[:, None] == ids).float()  # (N, classes, H, W)
    if edges is None:
        edges = torch.zeros_like(planes[:, :1])
    return torch.cat([planes, edges.float()], 1)
