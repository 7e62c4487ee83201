"""The few numbers that the step model takes from measurements; all else is counted.

Pure. Each has a physical meaning, a range that physics or a source allows, and a value that was
found on published runs by ``mynah plan validate``. The same for every model, GPU, layout and
framework.
"""

from dataclasses import dataclass, fields

import numpy as np

from mynah.plan.setups import Floats

__all__ = [
    "BOUNDS",
    "CALIBRATED",
    "PRIOR",
    "SPREAD_DENSE",
    "SPREAD_SPARSE",
    "Constants",
    "from_array",
    "to_array",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What cannot be counted."""

    product: float
    """Rate of large products in a step over that of the best one measured alone: clocks sink when
    all of a machine computes, and tiles come in the shapes that the libraries have."""
    tile_s: float
    """Seconds that a processor needs for a tile beyond its arithmetic: the first numbers come, the
    last go. To write 128 x 256 of them takes 3.5 microseconds of an A100's share of bandwidth, 2.6
    of an H100's; the next tile hides a part."""
    flash: float
    """Rate of attention kernels over what their authors published."""
    scale_up: float
    """Share of the scale-up links' rate that collectives reach; 0.77 to 0.8 in nccl-tests."""
    scale_out: float
    """Share of the network's; 0.75 to 0.95 in nccl-tests on good fabrics."""
    gather_overlap: float
    """Share of a layer's time that gathering the next one's weights can hide behind."""
    reduce_overlap: float
    """The same of the backward pass that gradients are reduced behind."""
    step_s: float
    """Seconds of every step that nothing hides: the optimizer's launches, norms, the host."""
    layer_s: float
    """Seconds that the host needs to launch the kernels of one layer's forward pass."""


PRIOR = Constants(
    product=0.85,
    tile_s=4e-6,
    flash=0.9,
    scale_up=0.78,
    scale_out=0.87,
    gather_overlap=0.8,
    reduce_overlap=0.8,
    step_s=0.01,
    layer_s=0.0003,
)
"""Where the search for them begins, and what it is drawn to."""
BOUNDS = {
    "product": (0.6, 1.0),
    "tile_s": (0.0, 2e-5),
    "flash": (0.5, 1.3),
    "scale_up": (0.5, 0.95),
    "scale_out": (0.4, 0.95),
    "gather_overlap": (0.0, 1.0),
    "reduce_overlap": (0.0, 1.0),
    "step_s": (0.0, 0.1),
    "layer_s": (0.0, 0.002),
}


def to_array(constants: Constants) -> Floats:
    """Their values in the order of the fields."""
    return np.array([getattr(constants, one.name) for one in fields(Constants)])


def from_array(values: Floats) -> Constants:
    """The constants of such an array."""
    names = (one.name for one in fields(Constants))
    return Constants(**{name: float(value) for name, value in zip(names, values, strict=True)})


CALIBRATED = Constants(
    product=0.7844,
    tile_s=4.807e-6,
    flash=0.7651,
    scale_up=0.8175,
    scale_out=0.95,
    gather_overlap=0.8,
    reduce_overlap=0.7763,
    step_s=0.01045,
    layer_s=0.0003643,
)
"""Found on 616 published runs of more than 8 accelerators, eleven sources weighing the same: what
``mynah plan validate`` finds on them, to four digits."""
SPREAD_DENSE = (0.85, 1.161)
SPREAD_SPARSE = (0.682, 1.549)
"""Of dense models, and of those with experts: measured over predicted, the bounds that 80% of runs
lay between, each predicted with constants that were found without its source. Software for experts
gained half of its speed within a year, on the same layouts; so its range is wide."""
