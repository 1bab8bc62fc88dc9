"""What goes wrong in a training without stopping it: centers that die, a discriminator that wins or gives up."""

import torch
from torch import Tensor

from gencomp.models.discriminator import Judgement

DEAD_SHARE = 1e-3
"""A center with a smaller share of its channel's symbols counts as dead."""
WON = 0.95
"""Of a possible 1: a score gap above it means that D tells every patch, and G learns nothing from it."""
GAVE_UP = 0.01
"""A score gap below it means that D tells nothing."""


def center_counts(w_hat: Tensor, centers: Tensor, kept: Tensor | None) -> Tensor:
    """w_hat (N, C, h, w) -> how often each center occurs per channel, (C, L) float32.

    `kept`: (N, 1, h, w), zero where symbols are masked and do not count.
    """
    hits = w_hat.detach().unsqueeze(-1) == centers  # (N, C, h, w, L)
    if kept is not None:
        hits = hits & (kept.unsqueeze(-1) > 0)
    return hits.float().sum((0, 2, 3))


def dead_centers(counts: Tensor) -> int:
    """How many of the (C, L) centers hold less than DEAD_SHARE of their channel's symbols."""
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return int((shares < DEAD_SHARE).sum())


def score_gap(real: list[Judgement], fake: list[Judgement], gan: str) -> Tensor:
    """Mean score of real patches minus that of reconstructed ones, over the scales: 1 when D is always right, 0 when it
    cannot tell. Scores of the vanilla GAN count as probabilities."""
    score = torch.sigmoid if gan == "vanilla" else torch.nn.Identity()
    gaps = [score(r.scores.detach()).mean() - score(h.scores.detach()).mean() for r, h in zip(real, fake, strict=True)]
    return torch.stack(gaps).mean().float()


def warnings(rows: list[dict[str, float]]) -> list[str]:
    """What every one of the history's rows (since the last look) complains of; one line each."""
    found: list[str] = []
    if not rows:
        return found
    since = f"since step {int(rows[0]['step'])}"
    dead = min(row["dead_centers"] for row in rows)
    if dead > 0:
        found.append(f"{int(dead)} centers were hardly used {since}; the rate they stand for is wasted")
    if all(row["adversarial"] > 0 for row in rows):
        gap = min(row["score_gap"] for row in rows), max(abs(row["score_gap"]) for row in rows)
        if gap[0] > WON:
            found.append(f"the discriminator wins {since}: it tells every patch; lower its learning rate or its width")
        if gap[1] < GAVE_UP:
            found.append(f"the discriminator has given up {since}: it tells nothing; raise its learning rate")
    return found
