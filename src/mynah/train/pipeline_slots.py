"""When each rank of a pipeline does what, if every forward takes one slot and a backward two.

Reads the order of a schedule; writes nothing. torch's schedules say in which order a rank works,
not when: a rank waits for what its neighbours send.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Slots", "lay_slots", "order_1f1b"]

SLOTS = {"F": 1, "B": 2, "I": 1, "W": 1}
"""A backward pass has twice the FLOP of a forward one: half for its inputs, half for weights."""
ACTION = re.compile(r"(\d+)([FBIW])(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """A schedule laid out in time."""

    name: str
    """As in the recipe."""
    ranks: tuple[tuple[str, ...], ...]
    """Of each rank of the pipeline, what it does in each slot: ``2F13`` is stage 2, forward of
    row 13; B is its backward, I and W the halves of one, for inputs and for weights; nothing is
    waiting."""

    @property
    def idle_share(self) -> float:
        """Of the slots of all ranks until the last is done."""
        num_slots = len(self.ranks[0]) * len(self.ranks)
        return 1.0 - sum(1 for slots in self.ranks for slot in slots if slot) / num_slots


def order_1f1b(num_ranks: int, num_rows: int) -> dict[int, list[str]]:
    """The order that ``Schedule1F1B`` runs: warm up, then by turns, then what is left.

    Its own ``pipeline_order`` is wrong on the last rank (torch 2.13): its rows begin at 1 there.
    """
    order: dict[int, list[str]] = {}
    for rank in range(num_ranks):
        warmup = min(num_rows, num_ranks - rank)
        actions = [f"{rank}F{row}" for row in range(warmup)]
        for row in range(num_rows):
            actions.append(f"{rank}B{row}")
            if row + warmup < num_rows:
                actions.append(f"{rank}F{row + warmup}")
        order[rank] = actions
    return order


def lay_slots(order: Mapping[int, Sequence[object]], *, name: str, num_stages: int) -> Slots:
    """Lay each rank's actions out in time, each as early as its rank and its inputs allow.

    Args:
        order: Of each rank, its actions, which torch writes as ``2F13``; others are left out.
        name: Of the schedule.
        num_stages: Of the whole pipeline.
    """
    queues = [_actions(order[rank]) for rank in sorted(order)]
    ended: dict[tuple[int, str, str], int] = {}
    laid: list[list[str]] = [[] for _ in queues]
    places = [0] * len(queues)
    while any(place < len(queue) for place, queue in zip(places, queues, strict=True)):
        moved = False
        for rank, queue in enumerate(queues):
            while places[rank] < len(queue):
                stage, kind, row = queue[places[rank]]
                inputs = _inputs(stage, kind, row, num_stages=num_stages)
                known = [ended[one] for one in inputs if one in ended]
                if inputs and not known:
                    break
                slots = laid[rank]
                slots.extend([""] * max(0, max(known, default=0) - len(slots)))
                slots.extend([f"{stage}{kind}{row}"] * SLOTS[kind])
                ended[stage, kind, row] = len(slots)
                places[rank] += 1
                moved = True
        assert moved, "a schedule in which all ranks wait for one another"
    width = max(len(slots) for slots in laid)
    return Slots(name=name, ranks=tuple((*slots, *[""] * (width - len(slots))) for slots in laid))


def _actions(actions: Sequence[object]) -> list[tuple[int, str, str]]:
    found = (ACTION.fullmatch(str(action)) for action in actions)
    return [(int(one[1]), one[2], one[3]) for one in found if one is not None]


def _inputs(stage: int, kind: str, row: str, *, num_stages: int) -> list[tuple[int, str, str]]:
    """What an action waits for; any one of those named, for a schedule has one of them only."""
    match kind:
        case "F":
            return [(stage - 1, "F", row)] if stage else []
        case "W":
            return [(stage, "I", row)]
        case _:
            if stage == num_stages - 1:
                return [(stage, "F", row)]
            return [(stage + 1, "B", row), (stage + 1, "I", row)]
