"""How long collectives take over a scale-up domain and the network beyond it.

Pure. A ring through G ranks moves (G - 1) / G of the bytes through every link; all network cards
of a machine carry the ring together, as NCCL lays it out.
"""

from dataclasses import dataclass

import numpy as np

from mynah.plan.constants import Constants
from mynah.plan.setups import Floats, Machines

__all__ = ["Links"]

LATENCY_S = 20e-6
"""Of one collective: its launch (nccl-tests, small messages on 8 GPUs)."""
INNER_HOP_S, OUTER_HOP_S = 3.4e-6, 14e-6
"""Of each step of a ring, inside a scale-up domain and over the network: what NCCL itself reckons
for large messages (its ``src/graph/tuning.cc``). A ring of ten thousand is slow however little it
carries."""
TORUS = 128.0
"""Accelerators of a scale-up domain beyond which it is no switch."""


@dataclass(frozen=True, slots=True)
class Links:
    """Rates of collectives on given machines."""

    machines: Machines
    constants: Constants

    def ring_bytes_per_s(self, size: Floats, inner: Floats) -> Floats:
        """Bytes a second that a ring moves through each rank.

        Args:
            size: Ranks of the ring.
            inner: Ranks that lie closer together than these: a ring's neighbours are so far apart.
        """
        machines = self.machines
        inside = machines.scale_up_bytes_per_s * self.constants.scale_up
        local = np.clip(machines.scale_up_size / inner, 1.0, size)
        outside = self._outside(size, inner) * local
        is_inside = size * inner <= machines.scale_up_size
        return np.where(is_inside, inside, np.minimum(outside, inside))

    def single_bytes_per_s(self, size: Floats, inner: Floats) -> Floats:
        """The same where every rank goes by its own network card."""
        machines = self.machines
        inside = machines.scale_up_bytes_per_s * self.constants.scale_up
        outside = self._outside(size, inner)
        return np.where(size * inner <= machines.scale_up_size, inside, outside)

    def _outside(self, size: Floats, inner: Floats) -> Floats:
        """Of one network card, for ranks that reach so far."""
        machines = self.machines
        is_far = size * inner > machines.pod_size
        rate = machines.nic_bytes_per_s / np.where(is_far, machines.oversubscription, 1.0)
        return rate * self.constants.scale_out

    def gather_s(self, num_bytes: Floats, size: Floats, inner: Floats) -> Floats:
        """Seconds to gather, or reduce and scatter, ``num_bytes`` over a ring; 0 for one rank."""
        moved = num_bytes * (1.0 - 1.0 / size)
        local = np.clip(self.machines.scale_up_size / inner, 1.0, size)
        domains = size / local
        # A domain of hundreds is a torus, and its rings go along three sides of it.
        inside = np.where(local > TORUS, 3.0 * np.cbrt(local), local - 1.0)
        hops = OUTER_HOP_S * np.where(domains > 1, domains, 0.0) + INNER_HOP_S * domains * inside
        seconds = moved / self.ring_bytes_per_s(size, inner) + LATENCY_S + hops
        return np.where(size > 1, seconds, 0.0)
