"""How long a matrix product takes: waves of tiles over the cores, depth, memory, fewer bits.

Pure. Letters: a product of an M x K with a K x N matrix.
"""

from dataclasses import dataclass

import numpy as np

from mynah.plan.constants import Constants
from mynah.plan.setups import Floats, Machines

__all__ = ["MEMORY_SHARE", "Products"]

MEMORY_SHARE = 0.85
"""Of the datasheet's bandwidth that kernels which only move data reach (STREAM-like tests of A100
and H100 give 0.85 to 0.93)."""
TILES = ((128.0, 256.0, 1.0), (128.0, 128.0, 0.92))
"""Rows and columns of the tiles that libraries prefer, and the rate of the smaller ones over that
of the larger, which read each number half as often."""
WAVE_EXPONENT = 0.5
"""A last wave of tiles that leaves cores idle costs less than its share: libraries then split the
inner side, or choose among more tiles than the two above. Half of it, on a scale of logarithms."""
ALIGNED, PARTLY, UNALIGNED = 1.0, 0.93, 0.6
"""Rate by what a side divides by: 64, 8 or neither; tensor cores read 16 bytes at a time, lines of
memory have 128 (NVIDIA, Matrix Multiplication Background User's Guide)."""
CAST_BYTES, FUSED_CAST_BYTES = 4.5, 2.0
"""To make the 8-bit operand: read 2 bytes, write 1 as it is and 1 transposed for the backward
pass, and half a byte for the largest value; where the kernel before it writes it, only both
copies."""


@dataclass(frozen=True, slots=True)
class Products:
    """Times of products on given machines."""

    machines: Machines
    bits: Floats
    is_fused: Floats
    """Whether operands of few bits come from the kernels before."""
    constants: Constants

    def seconds(self, m: Floats, n: Floats, k: Floats, *, is_wide: bool = False) -> Floats:
        """Seconds of one product.

        Args:
            m: Rows, tokens as a rule.
            n: Columns.
            k: Inner side.
            is_wide: Always in 16 bits, as the output matrix is.
        """
        machines, constants = self.machines, self.constants
        is_low = (self.bits < 16) & (not is_wide)
        rate = np.where(is_low, machines.low_flop_per_s, machines.flop_per_s) * constants.product
        shape = self._waves(m, n) ** WAVE_EXPONENT * _alignment(n) * _alignment(k)
        tile = 2.0 * TILES[0][0] * TILES[0][1] * machines.cores
        half = constants.tile_s * rate / tile
        computing = 2.0 * m * n * (k + half) / (rate * shape)
        width = np.where(is_low, self.bits / 8.0, 2.0)
        bandwidth = machines.memory_bytes_per_s * MEMORY_SHARE
        moving = (width * (m * k + k * n) + 2.0 * m * n) / bandwidth
        cast = np.where(self.is_fused > 0, FUSED_CAST_BYTES, CAST_BYTES)
        casting = np.where(is_low, cast * m * k / bandwidth, 0.0)
        return np.maximum(computing, moving) + casting

    def _waves(self, m: Floats, n: Floats) -> Floats:
        """Share of the cores' tiles that are of use while tiles go round, at the better size."""
        best = np.zeros_like(m)
        cores = self.machines.cores
        for rows, columns, rate in TILES:
            waves = np.ceil(np.ceil(m / rows) * np.ceil(n / columns) / cores)
            best = np.maximum(best, rate * m * n / (waves * cores * rows * columns))
        return best


def _alignment(side: Floats) -> Floats:
    whole = np.round(side)
    return np.where(whole % 64 == 0, ALIGNED, np.where(whole % 8 == 0, PARTLY, UNALIGNED))
