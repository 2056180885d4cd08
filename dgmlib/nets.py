"""Small networks that several chapters share."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from dgmlib.core import need_count


class MLP(nn.Sequential):
    """A fully connected network: linear maps of the given sizes with `activation` between them, none after the last.

    `MLP([2, 64, 64, 1])` maps `(*batch, 2)` to `(*batch, 1)` through two hidden layers of 64 units.

    Raises: ValueError (fewer than two sizes, or one below 1), TypeError (a size that is no int).
    """

    def __init__(self, sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.SiLU):
        if len(sizes) < 2:
            raise ValueError(f"sizes is {list(sizes)}, expected the input size, any hidden sizes, and the output size")
        layers: list[nn.Module] = []
        for d_in, d_out in pairwise(sizes):
            layers += [nn.Linear(need_count("sizes", d_in), need_count("sizes", d_out)), activation()]
        super().__init__(*layers[:-1])
