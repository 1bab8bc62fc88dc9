"""Random context networks that have something to say."""

import torch

from gencomp.models.context import ContextNetwork


def random_network(channels: int, levels: int, seed: int, hidden: tuple[int, int] = (12, 6)) -> ContextNetwork:
    """Untrained, but with an opinion on every symbol."""
    network = ContextNetwork(channels, levels, hidden)
    generator = torch.Generator().manual_seed(seed)
    network.initialise(generator)
    with torch.no_grad():
        for parameter in (network.last, network.b1, network.b2, network.b3):
            parameter.uniform_(-0.7, 0.7, generator=generator)
    return network
