"""The layout of a plan, drawn: machines of a replica, by pipeline stage, tensor groups inside.

Pure but for what it puts on the page. Ranks are numbered as the trainer's mesh numbers them:
pipeline outermost, then replicate, shard, context, tensor.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from nicegui import ui

from mynah.model import LlamaConfig
from mynah.train.layout import LayoutConfig
from mynah.train.pipeline import make_parts
from mynah.web.markup import box, text
from mynah.web.wording import exact_number, plural

__all__ = ["Machine", "Mesh", "Row", "show_mesh"]

MAX_MACHINES = 160
"""Machines that are drawn with their accelerators; of more, one is, and the others as blocks."""
MAX_BLOCKS = 1280
"""Blocks that are drawn of one stage."""
MAX_STAGES = 32
"""Stages that are drawn, half as many of blocks; of more, the first ones and the last."""
WIDE = 5
"""Machines of a stage from which on its name stands before them, not above."""
CELL, GAP, PAD = 10, 2, 3
"""Sides of a GPU, of the space between two and around them, in pixels."""
COLUMNS = 4
"""GPUs side by side in a machine."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as far as it works for the replica that is drawn."""

    number: int
    """Of the cluster, from 0."""
    stages: tuple[int | None, ...]
    """Rank of the pipeline that each of its accelerators is; ``None`` where another replica's."""
    groups: tuple[int | None, ...]
    """Tensor group of each accelerator."""


@dataclass(frozen=True, slots=True)
class Row:
    """Machines that hold the same stages."""

    stages: tuple[int, ...]
    machines: tuple[Machine, ...]


@dataclass(frozen=True)
class Mesh:
    """A layout over machines."""

    layout: LayoutConfig
    per_node: int

    @property
    def num_per_replica(self) -> int:
        """Accelerators that hold one copy of the weights between them."""
        return self.layout.world_size // self.layout.replicate

    @property
    def is_large(self) -> bool:
        """Whether there are too many machines to draw every accelerator."""
        return sum(len(row.machines) for row in self.rows) > MAX_MACHINES

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Machines of the first replica, from the first stage to the last."""
        one = self.layout
        inner = one.shard * one.context * one.tensor
        found: dict[int, tuple[list[int | None], list[int | None]]] = {}
        for stage in range(one.pipeline):
            first = stage * one.replicate * inner
            for rank in range(first, first + inner):
                machine = rank // self.per_node
                width = min(self.per_node, one.world_size - machine * self.per_node)
                blank: tuple[list[int | None], list[int | None]] = ([None] * width, [None] * width)
                stages, groups = found.setdefault(machine, blank)
                stages[rank % self.per_node] = stage
                groups[rank % self.per_node] = rank // one.tensor
        machines = [
            Machine(number, tuple(stages), tuple(groups))
            for number, (stages, groups) in sorted(found.items())
        ]
        return tuple(Row(stages, tuple(row)) for stages, row in groupby(machines, key=_stages_of))


def _stages_of(machine: Machine) -> tuple[int, ...]:
    return tuple(sorted({stage for stage in machine.stages if stage is not None}))


def show_mesh(layout: LayoutConfig, shape: LlamaConfig, *, per_node: int) -> None:
    """Draw one replica, say how many there are, and what each colour and frame means."""
    mesh = Mesh(layout, per_node)
    words = mesh_words(mesh)
    text("p", words, "mesh-words")
    if mesh.is_large:
        with box("p", "mesh-sample"):
            ui.html(machine_svg(mesh.rows[0].machines[0], layout), sanitize=False)
            text("span", "one machine; each block below is one", "note")
    is_wide = not mesh.is_large and any(len(row.machines) >= WIDE for row in mesh.rows)
    with box("div", "mesh is-wide" if is_wide else "mesh", role="img", aria_label=words):
        drawn = _drawn(mesh)
        for row in drawn:
            if row is None:
                text("p", f"{len(mesh.rows) - len(drawn) + 1} stages like these", "note mesh-more")
            else:
                _show_row(row, mesh, shape)
        if layout.replicate > 1:
            times = exact_number(layout.replicate)
            text("span", f"\u00d7 {times}", "mesh-times", title=f"{times} replicas like this one")
    with box("p", "legend mesh-legend", aria_hidden="true"):
        for classes, meaning in _legend(mesh):
            with box("span"):
                box("i", f"swatch {classes}")
                text("span", meaning)


def mesh_words(mesh: Mesh) -> str:
    """The whole layout in a sentence."""
    one = mesh.layout
    ways = [
        (one.pipeline, f"{one.pipeline} stages in a pipeline"),
        (one.shard, f"the weights shared out over {one.shard:,}"),
        (one.expert, f"experts dealt over {one.expert} of those"),
        (one.context, f"every row cut in {one.context}"),
        (one.tensor, f"every matrix cut in {one.tensor}"),
    ]
    inside = ", ".join(words for degree, words in ways if degree > 1)
    size = plural(mesh.num_per_replica, "GPU")
    if one.replicate == 1:
        return f"One replica of {size}{': ' if inside else ''}{inside}."
    copies = f"{exact_number(one.replicate)} replicas of {size} each, one drawn"
    return f"{copies}{': ' if inside else ''}{inside}."


def _legend(mesh: Mesh) -> list[tuple[str, str]]:
    one = mesh.layout
    words: list[tuple[str, str]] = []
    if one.pipeline > 1:
        words.append(("shaded", "a GPU, shaded by its stage"))
    else:
        words.append(("solid", "a GPU"))
    if mesh.is_large:
        words.append(("block", f"a machine of {mesh.per_node} GPUs"))
    if one.tensor > 1:
        words.append(("framed", "a frame: the GPUs that share every matrix"))
    if any(stage is None for row in mesh.rows for each in row.machines for stage in each.stages):
        words.append(("hollow", "another replica's"))
    return words


def _drawn(mesh: Mesh) -> list[Row | None]:
    """Rows to draw; ``None`` stands for those that are left out."""
    rows = mesh.rows
    room = MAX_STAGES // 2 if mesh.is_large else MAX_STAGES
    return list(rows) if len(rows) <= room else [*rows[: room - 1], None, rows[-1]]


def _show_row(row: Row, mesh: Mesh, shape: LlamaConfig) -> None:
    with box("div", "mesh-row") as block:
        if mesh.layout.pipeline > 1:
            label, layers = _row_words(row, mesh.layout, shape)
            text("span", label, "mesh-label")
            block.props["title"] = layers
        # Of numbers alone: nothing that anybody wrote is in what is drawn.
        if not mesh.is_large:
            drawing = "".join(machine_svg(one, mesh.layout) for one in row.machines)
            ui.html(drawing, sanitize=False).classes("machine-list")
            return
        if row is mesh.rows[0]:
            ui.html(machine_svg(row.machines[0], mesh.layout), sanitize=False).classes(
                "one-machine"
            )
        shown = min(len(row.machines), MAX_BLOCKS)
        shade = _shade(row.stages[0], mesh.layout)
        blocks = ui.html("<i></i>" * shown, sanitize=False).classes("block-list")
        blocks.style(f"--shade:{shade}%")
        if (more := len(row.machines) - shown) > 0:
            text("span", f"and {plural(more, 'machine')} more like these", "note")


def _row_words(row: Row, layout: LayoutConfig, shape: LlamaConfig) -> tuple[str, str]:
    first, last = row.stages[0], row.stages[-1]
    label = f"Stage {first + 1}" if first == last else f"Stages {first + 1} to {last + 1}"
    held: list[str] = []
    for part in (part for stage in row.stages for part in make_parts(shape, layout, stage)):
        pieces = ["embedding"] if part.has_embedding else []
        if len(part.layers):
            begin, end = part.layers[0] + 1, part.layers[-1] + 1
            pieces.append(f"layers {begin} to {end}" if end > begin else f"layer {begin}")
        held.append(" and ".join([*pieces, *(["head"] if part.has_head else [])]))
    return label, "; ".join(held)


def machine_svg(machine: Machine, layout: LayoutConfig) -> str:
    """One machine: its accelerators in rows of four, a frame around every tensor group."""
    step = CELL + GAP
    num_rows = -(-len(machine.stages) // COLUMNS)
    width = COLUMNS * step - GAP + 2 * PAD
    height = num_rows * step - GAP + 2 * PAD
    cells: list[str] = []
    for place, stage in enumerate(machine.stages):
        x, y = PAD + place % COLUMNS * step, PAD + place // COLUMNS * step
        kind = "hollow" if stage is None else "gpu"
        shade = "" if stage is None else f' style="--shade:{_shade(stage, layout)}%"'
        cells.append(
            f'<rect class="{kind}"{shade} x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="2"/>'
        )
    frames = "".join(_frames(machine, layout.tensor))
    title = f"Machine {machine.number + 1}"
    return (
        f'<svg class="machine" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>{title}</title>{frames}{''.join(cells)}</svg>"
    )


def _shade(stage: int, layout: LayoutConfig) -> int:
    """Percent of ink, from the first stage to the last."""
    if layout.pipeline == 1:
        return 70
    return round(28 + 72 * stage / (layout.pipeline - 1))


def _frames(machine: Machine, tensor: int) -> list[str]:
    """Rectangles around runs of accelerators of one tensor group; of one alone there is none."""
    if tensor == 1:
        return []
    step, frames = CELL + GAP, list[str]()
    for _, members in groupby(
        (place for place, group in enumerate(machine.groups) if group is not None),
        key=lambda place: (machine.groups[place], place // COLUMNS if tensor < COLUMNS else 0),
    ):
        places = list(members)
        top, bottom = places[0] // COLUMNS, places[-1] // COLUMNS
        left = places[0] % COLUMNS if top == bottom else 0
        right = places[-1] % COLUMNS if top == bottom else COLUMNS - 1
        x, y = PAD + left * step - GAP, PAD + top * step - GAP
        width = (right - left + 1) * step + GAP
        height = (bottom - top + 1) * step + GAP
        frames.append(
            f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="3"/>'
        )
    return frames
