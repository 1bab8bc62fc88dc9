"""Networks to judge a search by where none were fetched."""

import torch
from torch import nn

from gencomp.codec.search import Judge
from gencomp.models.dists import DISTS
from gencomp.models.lpips import LPIPS


def random_judge() -> Judge:
    """The real networks with weights that were drawn, so that nothing need be fetched."""
    torch.manual_seed(0)
    networks = LPIPS("alex"), LPIPS("vgg"), DISTS()
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for head in getattr(network, "heads", ()):
            nn.init.constant_(head.weight, 0.01)
        network.eval().requires_grad_(False)
    return Judge(*networks)
