"""What a rehearsal found: plain data, and as text to read, with the schedule as a picture.

Reads and writes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mynah.train.formulas import Expected
from mynah.train.pipeline_slots import Slots

__all__ = ["Message", "Rehearsal", "render"]

MAX_COLUMNS = 160
"""Slots of the picture; a longer schedule is cut there, for its middle repeats itself."""
NAMES = {
    "parameters": "weights, as stored",
    "gathered_weights": "weights, as products read them",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "activations": "activations",
    "workspace": "workspace",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One kind of message of the step."""

    name: str
    """``all_gather``, ``reduce_scatter``, ``all_reduce``, ``all_to_all``, ``broadcast``, ``send``
    or ``receive``."""
    axes: str
    """Axes of the mesh that its group goes over, joined by ``+``."""
    group_size: int
    """Ranks of the group; a send has one receiver among them."""
    dtype: str
    """Of what is sent."""
    count: int
    """How often in the step."""
    num_bytes: int
    """Of all of them, each the whole tensor that is gathered, scattered or added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What one rank holds, computes and sends in a step."""

    world_size: int
    rank: int
    place: dict[str, int]
    """Of the rank on each axis of the mesh."""
    layers: tuple[tuple[int, ...], ...]
    """Numbers of the layers of each of its stages, from 0."""
    num_rows: int
    """Rows that the rank reads in the step; all were run."""
    row_tokens: int
    """Tokens of a row, before it is cut over ``context``."""
    parameters: int
    """Weights that the rank stores."""
    whole_parameters: int
    """Weights of the whole model."""
    memory: dict[str, int]
    """Bytes by category when most were held; see ``rehearsal_ledgers.CATEGORIES``."""
    peak_memory_bytes: int
    """Their sum."""
    flop: int
    """What the result needs, of this rank in this step."""
    recomputed_flop: int
    """What was computed once more, to hold less."""
    update_flop: int
    """Of the optimizer's matrix products: Muon's."""
    messages: tuple[Message, ...]
    schedule: Slots | None
    """None without a pipeline."""
    expected: Expected
    """The same by the formulas of the literature."""
    seconds: float
    """That the rehearsal took."""
    own_peak_memory_bytes: int
    """Peak of this process itself, the interpreter and torch included."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)


def render(rehearsal: Rehearsal) -> str:
    """Return tables of memory, FLOP and messages, and the picture of the schedule."""
    blocks = [_head(rehearsal), _memory(rehearsal), _flop(rehearsal), _messages(rehearsal)]
    if rehearsal.schedule is not None:
        blocks.append(_picture(rehearsal.schedule, own=rehearsal.place["pipeline"]))
    blocks.append(
        f"took {rehearsal.seconds:.0f} s and {_bytes(rehearsal.own_peak_memory_bytes)} of this "
        "machine"
    )
    return "\n\n".join(blocks)


def _head(rehearsal: Rehearsal) -> str:
    place = ", ".join(f"{axis} {at}" for axis, at in rehearsal.place.items())
    stages = ", ".join(_stretch(layers) for layers in rehearsal.layers if layers)
    return (
        f"rank {rehearsal.rank:,} of {rehearsal.world_size:,}: {place}\n"
        f"holds layers {stages or 'none'}; {rehearsal.parameters:,} of "
        f"{rehearsal.whole_parameters:,} weights\n"
        f"reads {rehearsal.num_rows:,} rows of {rehearsal.row_tokens:,} tokens a step"
    )


def _stretch(layers: Sequence[int]) -> str:
    return f"{layers[0]}-{layers[-1]}" if len(layers) > 1 else f"{layers[0]}"


def _memory(rehearsal: Rehearsal) -> str:
    expected = rehearsal.expected
    rows = [
        (NAMES[name], _bytes(num_bytes), _bytes(getattr(expected, name)))
        for name, num_bytes in rehearsal.memory.items()
    ]
    rows.append(("peak", _bytes(rehearsal.peak_memory_bytes), _bytes(expected.memory_bytes)))
    return _table(("memory", "rehearsed", "by formula"), rows)


def _flop(rehearsal: Rehearsal) -> str:
    rows = [
        ("for the result", f"{rehearsal.flop:.4g}", f"{rehearsal.expected.flop:.4g}"),
        ("computed again", f"{rehearsal.recomputed_flop:.4g}", ""),
    ]
    if rehearsal.update_flop:
        rows.append(("of the optimizer", f"{rehearsal.update_flop:.4g}", ""))
    return _table(("FLOP of a step", "rehearsed", "by formula"), rows)


def _messages(rehearsal: Rehearsal) -> str:
    rows = [
        (
            message.name,
            message.axes or "-",
            f"{message.group_size:,}",
            message.dtype,
            f"{message.count:,}",
            _bytes(message.num_bytes),
        )
        for message in rehearsal.messages
    ]
    return _table(("message", "over", "ranks", "dtype", "count", "bytes"), rows)


def _picture(slots: Slots, *, own: int) -> str:
    """One line a rank, one letter a slot: F and f forwards, B and b backwards, by turns of rows."""
    width = len(slots.ranks[0])
    lines = [
        f"schedule {slots.name}: {slots.idle_share:.1%} idle, if a backward takes two forwards",
        "F forward, B backward, I and W its halves; small letters are stages past a rank's first",
    ]
    for rank, actions in enumerate(slots.ranks):
        mark = ">" if rank == own else " "
        first = min((_stage(action) for action in actions if action), default=0)
        letters = "".join(_letter(action, first) for action in actions[:MAX_COLUMNS])
        lines.append(f"{mark}{rank:4d} {letters}{'...' if width > MAX_COLUMNS else ''}")
    return "\n".join(lines)


def _stage(action: str) -> int:
    digits = action[: len(action) - len(action.lstrip("0123456789"))]
    return int(digits or 0)


def _letter(action: str, first: int) -> str:
    """``12F3`` is F; of another stage than the first of its rank it is f."""
    if not action:
        return "."
    kind = action.lstrip("0123456789")[:1]
    return kind if _stage(action) == first else kind.lower()


def _bytes(num_bytes: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.2f} {unit}"
    return f"{num_bytes} B"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
