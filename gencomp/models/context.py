"""The context network: how likely each center is for a symbol, given the symbols around it. In whole numbers.

For the symbol of channel c at a position, the network of that channel sees, of every symbol a = index - L // 2 in

- `OWN`, the positions before it in its own channel (rows from above, each from the left), and
- `AROUND`, the 3 x 3 positions around it, in each of the channels before c,

the pair (a, |a|), and of each position in `SEEN` whether a symbol is coded there. Elsewhere a is 0. Then, with weights
and biases in whole numbers and floor division,

    h1 = clip((W1 inputs + b1) // 2**3, 0, 255)
    h2 = clip((W2 h1 + b2) // 2**8, 0, 255)
    y = (W3 h2 + b3) // 2**7

and center j has frequency 1 + (2**24 - L) e_j // sum(e), e_j = EXPONENTIALS[max(y) - y_j], the most likely one (of two,
the lower) what is missing to 2**24. So y counts 1/64 nats, and W1, W2, W3 count 1/256, h1 and h2 1/32.

Every sum stays below 2**24 in any order of its terms, which loading checks, so products of float32 matrices are exact:
the same frequencies on every machine, with any number of threads. Nothing here depends on how many channels are coded.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from gencomp.models.entropy import MAX_CONTEXT_LEVELS

Offset = tuple[int, int]
"""Rows and columns from a symbol's position."""

OWN: tuple[Offset, ...] = (
    *((-2, dx) for dx in range(-2, 3)),
    *((-1, dx) for dx in range(-2, 2)),
    *((0, dx) for dx in range(-2, 0)),
)
AROUND: tuple[Offset, ...] = tuple((dy, dx) for dy in range(-1, 2) for dx in range(-1, 2))
SEEN: tuple[Offset, ...] = (*OWN, (0, 0), (0, 1), (1, -1), (1, 0), (1, 1))
REACH = 2
"""Positions that the offsets reach, in each direction."""

WEIGHT_UNIT, ACTIVATION_UNIT, LOGIT_UNIT = 256, 32, 64
BIAS_UNIT = WEIGHT_UNIT * ACTIVATION_UNIT
"""Of b2 and b3."""
SHIFTS = (3, 8, 7)
"""Of the three layers: 2**shift brings their sums to the units of h1, h2 and y."""
MAX_ACTIVATION = 255
MAX_WEIGHT = 2**15 - 1
EXACT = 2**24
"""float32 holds every whole number up to it."""


def network_shapes(channels: int, levels: int, hidden: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of weights and biases by name, for hidden layers of H1 and H2 numbers per channel."""
    C, (H1, H2) = channels, hidden
    return {
        "own": (C, H1, 2, len(OWN)),
        "before": (C, H1, C - 1, 2, len(AROUND)),
        "seen": (C, H1, len(SEEN)),
        "middle": (C, H2, H1),
        "last": (C, levels, H2),
        "b1": (C, H1),
        "b2": (C, H2),
        "b3": (C, levels),
    }


@dataclass(frozen=True)
class ContextWeights:
    """A context network in whole numbers, as packages store it."""

    own: NDArray[np.int16]
    """W1 of the channel's own symbols, a and |a|, (C, H1, 2, len(OWN))."""
    before: NDArray[np.int16]
    """W1 of the channels before, (C, H1, C - 1, 2, len(AROUND)): of c - 1 first, then of c - 2; 0 where is none."""
    seen: NDArray[np.int16]
    """W1 of where symbols are, (C, H1, len(SEEN))."""
    middle: NDArray[np.int16]
    """W2, (C, H2, H1)."""
    last: NDArray[np.int16]
    """W3, (C, L, H2)."""
    biases: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
    """b1 (C, H1), b2 (C, H2) and b3 (C, L)."""

    @property
    def channels(self) -> int:
        return len(self.own)

    @property
    def levels(self) -> int:
        return self.last.shape[1]

    @property
    def hidden(self) -> tuple[int, int]:
        """H1 and H2."""
        return self.middle.shape[2], self.middle.shape[1]

    def first(self, channels: int) -> "ContextWeights":
        """The network of the first channels, which is the same to them."""
        kept = slice(channels)
        biases = (self.biases[0][kept], self.biases[1][kept], self.biases[2][kept])
        before = self.before[kept, :, : channels - 1]
        return ContextWeights(self.own[kept], before, self.seen[kept], self.middle[kept], self.last[kept], biases)

    def is_exact(self) -> bool:
        """Whether every sum stays below 2**24, whatever the symbols are and however its terms are ordered."""
        largest = self.levels // 2
        sums = (
            largest * (_magnitude(self.own) + _magnitude(self.before)) + _magnitude(self.seen),
            MAX_ACTIVATION * _magnitude(self.middle),
            MAX_ACTIVATION * _magnitude(self.last),
        )
        biases = [np.abs(bias.astype(np.int64)) for bias in self.biases]
        return all(int((total + bias).max()) < EXACT for total, bias in zip(sums, biases, strict=True))


def _magnitude(weights: NDArray[np.int16]) -> NDArray[np.int64]:
    """(C, rows, ...) -> the sum of each row's absolute values, (C, rows)."""
    return np.abs(weights.astype(np.int64)).reshape(*weights.shape[:2], -1).sum(2)


def exponentials() -> NDArray[np.int64]:
    """2**16 exp(-d / 64) for d = 0, 1, ..., rounded down, up to the first that is 0: the same on every machine."""
    with localcontext() as context:
        context.prec = 40
        terms: list[int] = []
        while not terms or terms[-1]:
            terms.append(int(2**16 * (Decimal(-len(terms)) / LOGIT_UNIT).exp()))
    return np.array(terms, np.int64)


EXPONENTIALS = exponentials()


def check_levels(levels: int) -> None:
    """Raise ValueError for more levels than a context network takes."""
    if levels > MAX_CONTEXT_LEVELS:
        raise ValueError(f"a context network takes at most {MAX_CONTEXT_LEVELS} levels, not {levels}")


class ContextNetwork(nn.Module):
    """The same as something to train: weights and activations in real units, rounded on the way forward to what the
    whole numbers can say, with the gradient passed on as if they had not been."""

    def __init__(self, channels: int, levels: int, hidden: tuple[int, int]) -> None:
        super().__init__()
        check_levels(levels)
        self.levels = levels
        zeros = {name: torch.zeros(shape) for name, shape in network_shapes(channels, levels, hidden).items()}
        self.own, self.before, self.seen, self.middle, self.last, self.b1, self.b2, self.b3 = (
            nn.Parameter(tensor) for tensor in zeros.values()
        )

    @classmethod
    def from_weights(cls, weights: ContextWeights) -> "ContextNetwork":
        """The network of whole numbers, to train on."""
        network = cls(weights.channels, weights.levels, weights.hidden)
        first: list[NDArray[np.integer]] = [weights.own, weights.before, weights.seen]
        arrays = [*first, weights.middle, weights.last, *weights.biases]
        units = (*[WEIGHT_UNIT] * 6, BIAS_UNIT, BIAS_UNIT)
        with torch.no_grad():
            for parameter, array, unit in zip(network.parameters(), arrays, units, strict=True):
                parameter.copy_(torch.from_numpy(array.astype(np.float32) / unit))
        return network

    def initialise(self, generator: torch.Generator) -> None:
        """Weights uniform in +-1/sqrt(inputs), biases zero; of the last layer both zero, so that all centers are as
        likely."""
        inputs = torch.tensor([2 * len(OWN) + 2 * len(AROUND) * c + len(SEEN) for c in range(len(self.own))])
        bounds = inputs[:, None, None] ** -0.5
        with torch.no_grad():
            for weight in (self.own, self.before, self.seen):
                weight.uniform_(-1, 1, generator=generator).flatten(2).mul_(bounds)
            bound = self.middle.shape[2] ** -0.5
            self.middle.uniform_(-bound, bound, generator=generator)
            for c, weight in enumerate(self.before):
                weight[:, c:] = 0

    def forward(self, symbols: Tensor, coded: Tensor) -> Tensor:
        """Symbols (N, C, h, w), of which `coded` (N, 1, h, w) says where they are; logits (N, C, L, h, w).

        Symbols in floats get a gradient.
        """
        N, C, h, w = symbols.shape
        a = torch.where(coded, symbols - self.levels // 2, 0).float().transpose(0, 1)  # (C, N, h, w)
        seen = _shifted(coded.float().transpose(0, 1), SEEN)[0]  # (len(SEEN), P), P = N h w positions
        own = _signed_and_not(_shifted(a, OWN))  # (C, 2 len(OWN), P)
        before = _signed_and_not(_shifted(a.flip(0), AROUND)).flatten(0, 1)  # (C 2 len(AROUND), P), channel C - 1 first
        W_own, W_before, W_seen = _rounded(self.own).flatten(2), _rounded(self.before).flatten(2), _rounded(self.seen)
        first = []
        for c in range(C):
            sums = torch.addmm(_rounded(self.b1[c])[:, None], W_own[c], own[c]) + W_seen[c] @ seen
            count = c * 2 * len(AROUND)
            first.append(sums + W_before[c, :, :count] @ before[len(before) - count :] if c else sums)
        h1 = _activation(torch.stack(first))  # (C, H1, P)
        h2 = _activation(torch.baddbmm(_rounded(self.b2, BIAS_UNIT)[..., None], _rounded(self.middle), h1))
        y = torch.baddbmm(_rounded(self.b3, BIAS_UNIT)[..., None], _rounded(self.last), h2)  # (C, L, P)
        return y.view(C, self.levels, N, h, w).permute(2, 0, 1, 3, 4)

    def weights(self) -> ContextWeights:
        """The network in whole numbers."""
        with torch.no_grad():
            found = ContextWeights(
                own=_whole(self.own),
                before=_whole(self.before),
                seen=_whole(self.seen),
                middle=_whole(self.middle),
                last=_whole(self.last),
                biases=(
                    _whole_bias(self.b1, WEIGHT_UNIT),
                    _whole_bias(self.b2, BIAS_UNIT),
                    _whole_bias(self.b3, BIAS_UNIT),
                ),
            )
        if not found.is_exact():
            raise ValueError("the context network's sums reach 2**24, beyond which float32 is not exact")
        return found


def _whole(weight: Tensor) -> NDArray[np.int16]:
    return (weight * WEIGHT_UNIT).round().clamp(-MAX_WEIGHT, MAX_WEIGHT).cpu().numpy().astype(np.int16)


def _whole_bias(bias: Tensor, unit: int) -> NDArray[np.int32]:
    return (bias * unit).round().cpu().numpy().astype(np.int32)


def _rounded(weight: Tensor, unit: int = WEIGHT_UNIT) -> Tensor:
    """To multiples of 1/unit, straight through."""
    return weight + ((weight * unit).round() / unit - weight).detach()


def _activation(sums: Tensor) -> Tensor:
    """Clipped to [0, 255/32] and rounded down to multiples of 1/32, straight through."""
    clipped = sums.clamp(0, MAX_ACTIVATION / ACTIVATION_UNIT)
    return clipped + ((clipped * ACTIVATION_UNIT).floor() / ACTIVATION_UNIT - clipped).detach()


def _shifted(planes: Tensor, offsets: tuple[Offset, ...]) -> Tensor:
    """Planes (C, N, h, w) -> (C, offsets, N h w), what lies at each offset, 0 outside."""
    h, w = planes.shape[2:]
    framed = pad(planes, (REACH,) * 4)
    return torch.stack(
        [framed[..., REACH + dy : REACH + dy + h, REACH + dx : REACH + dx + w].flatten(1) for dy, dx in offsets], 1
    )


def _signed_and_not(a: Tensor) -> Tensor:
    """(C, offsets, P) -> a and |a|, (C, 2 offsets, P)."""
    return torch.cat([a, a.abs()], 1)
