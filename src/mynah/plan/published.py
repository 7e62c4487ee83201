"""Tables of runs as people publish them, read as setups.

What is said is used; what is not is a stated default.

Reads CSV files with the columns of ``docs/reference/plan.md``; writes nothing. Columns of what was
measured are read by ``measured`` alone: no prediction sees them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from mynah.errors import ConfigError
from mynah.plan.cells import numbers_of, read_cells
from mynah.plan.hardware import Accelerator, accelerators, find_accelerator
from mynah.plan.memory import memory_of
from mynah.plan.setups import (
    Degrees,
    Floats,
    Machines,
    Recompute,
    Setups,
    Shapes,
    Sharding,
    Stacks,
    Work,
)
from mynah.plan.software import recompute_of, sharding_of, software_of

__all__ = ["DEFAULTS", "NEEDED", "Table", "read_table"]

NEEDED = ("layers", "hidden", "heads", "vocab", "seq_len", "gpu", "n_gpus")
"""Columns without which nothing can be said of a row."""
DEFAULTS: dict[str, str] = {
    "kv_heads": "as many as heads",
    "ffn": "4 times hidden; moe_ffn where there are experts",
    "gated_mlp": "0; 1 where there are experts",
    "params": "what layers and widths make, with an output matrix of its own where MLPs are gated",
    "active_params": "what layers, heads and widths make",
    "n_experts": "0",
    "top_k": "0; none where there are experts: such a row is no run",
    "moe_ffn": "0; ffn where there are experts",
    "global_batch": "one micro-batch for each rank of data and of the pipeline",
    "micro_batch": "1; all rows of a rank where weights are shared out and there is no pipeline",
    "tp": "1",
    "pp": "1",
    "vpp": "1",
    "dp": "n_gpus / (tp * pp * cp), also where the column says another number",
    "cp": "1; where there are fewer rows than ranks of data, the least that leaves each a row",
    "ep": "1",
    "seq_parallel": "1 where the framework has it on by itself (Megatron-Core and its kin), else 0",
    "sharding": "that of the framework (NeMo, Megatron-Core, Megatron Bridge: distributed "
    "optimizer; MaxText: FSDP), else none",
    "recompute": "none; where that does not fit, norms and activations, and for memory the least "
    "that fits",
    "dtype": "bf16",
    "framework": "FlashAttention-2, no compiler, nothing overlapped",
    "network": "what the accelerator's clusters have",
    "gpu_mem_gb": "that of the accelerator",
}
"""What is assumed where a column is missing or a cell is blank."""

MANY_WEIGHTS, LEAST_ATTENTION = 1.05, 0.1
"""Weights counted over those that are said, from which on attention is taken to be of low rank; and
the least share of its weights that it is then given."""
COUNTS = (
    *("layers", "hidden", "heads", "kv_heads", "vocab", "seq_len", "n_gpus"),
    *("tp", "pp", "vpp", "dp", "cp", "ep", "top_k"),
)
"""Columns of whole numbers."""
LEAST = {
    **dict.fromkeys((*COUNTS, "ffn", "moe_ffn", "global_batch", "micro_batch", "gpu_mem_gb"), 1.0),
    **dict.fromkeys(("params", "active_params"), 1e4),
}
"""Below these a cell says nothing: some write 0 for what is not cut, and billions for weights."""
MOST_TRIED = 1e6
"""Numbers that are tried as divisors of a count of ranks."""
MEASURED = "derived_tokens_per_s_per_gpu"
"""The column that predictions are compared with."""
BLANK = ("", "null", "nan", "na", "n/a", "n.a.", "-", "--", "?", "unknown")
"""Cells of text that say nothing; ``none`` says something of sharding and recomputation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that could be read as setups, and what was assumed."""

    frame: pl.DataFrame
    """The file as it is, every column text."""
    which: np.ndarray
    """Numbers of the rows that are setups."""
    setups: Setups
    roomiest: Setups
    """The same with the least computed again that makes room, where nobody says what is."""
    problems: dict[int, str]
    """Of each other row, what is missing or odd."""
    assumed: dict[str, int]
    """How many rows got the default of a column. Rows without experts need none of ``top_k``,
    ``moe_ffn``, ``ep`` and ``active_params``, those with experts none of ``params``."""

    def measured(self) -> Floats:
        """Tokens per second and accelerator of the setups; NaN where nobody says."""
        return self.numbers(MEASURED)

    def numbers(self, name: str) -> Floats:
        """Another column of numbers, of the setups; NaN where a cell or the column is missing."""
        return numbers_of(self.frame, name)[self.which]


def read_table(path: Path, *, hardware: Path | None = None) -> Table:
    """Read one CSV file.

    Args:
        path: With a header; columns that are not known are kept and not used.
        hardware: More accelerators than are known.

    Raises:
        DataError: There is no such file, or it is no table.
        ConfigError: A column that everything rests on is missing.
    """
    frame = read_cells(path, (*NEEDED, *DEFAULTS))
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise ConfigError(
            f"{path} lacks the columns {', '.join(missing)}",
            hint=f"a run is described by at least {', '.join(NEEDED)}",
        )
    return _Reader(frame, hardware).table()


def _texts(frame: pl.DataFrame, name: str) -> list[str]:
    if name not in frame.columns:
        return [""] * frame.height
    cells = (cell.strip() for cell in frame[name].fill_null("").to_list())
    return ["" if cell.lower() in BLANK else cell for cell in cells]


class _Reader:
    """One file on its way to setups."""

    def __init__(self, frame: pl.DataFrame, hardware: Path | None) -> None:
        self.frame, self.hardware = frame, hardware
        accelerators(hardware)  # a file that is wrong is an error, not one of every row
        self.assumed: dict[str, int] = {}
        self.problems: dict[int, str] = {}
        self.framework = [text.lower() for text in _texts(frame, "framework")]
        self.software = [software_of(name) for name in self.framework]
        self.sharding = self._sharding()
        # A single expert is an MLP that every token meets.
        self.is_sparse = numbers_of(frame, "n_experts") > 1

    def table(self) -> Table:
        shapes, degrees = self._shapes(), self._degrees()
        work = self._work(degrees)
        machines, stacks = self._machines(work), self._stacks()
        whole = Setups(shapes=shapes, work=work, degrees=degrees, machines=machines, stacks=stacks)
        self._look(whole)
        small, roomiest = self._with_recompute(whole)
        which = np.array([n for n in range(self.frame.height) if n not in self.problems], dtype=int)
        return Table(
            frame=self.frame,
            which=which,
            setups=small.take(which),
            roomiest=roomiest.take(which),
            problems=self.problems,
            assumed=self.assumed,
        )

    def _said(self, name: str) -> Floats:
        """A column's numbers; NaN where a cell says nothing."""
        found = numbers_of(self.frame, name)
        return np.where(found >= LEAST.get(name, 0.0), found, np.nan)

    def _column(
        self, name: str, default: Floats | float, *, among: np.ndarray | None = None
    ) -> Floats:
        """The same with a default, which is listed for those rows that need it."""
        found = self._said(name)
        blank = np.isnan(found)
        self._assume(name, int((blank if among is None else blank & among).sum()))
        return np.where(blank, default, found)

    def _data(self, rest: Floats) -> Floats:
        """What is left for ``dp``, also where the column says another number than that."""
        is_said = np.abs(self._said("dp") - rest) < 0.5
        self._assume("dp", int((~is_said).sum()))
        return rest

    def _assume(self, name: str, count: int) -> None:
        if count:
            self.assumed[name] = self.assumed.get(name, 0) + count

    def _shapes(self) -> Shapes:
        hidden, heads, sparse = self._said("hidden"), self._said("heads"), self.is_sparse
        wide = self._said("moe_ffn")
        inner = self._column("ffn", np.where(sparse & (wide >= 1), wide, 4.0 * hidden))
        none = np.zeros_like(hidden)
        experts = np.where(sparse, self._column("n_experts", 0.0), 0.0)
        shapes = Shapes(
            layers=self._said("layers"),
            hidden=hidden,
            heads=heads,
            kv_heads=self._column("kv_heads", heads),
            head_dim=self._head_dim(hidden, heads, experts),
            inner=inner,
            attention_share=np.ones_like(hidden),
            is_gated=np.minimum(self._column("gated_mlp", sparse.astype(float)), 1.0),
            vocab=self._said("vocab"),
            tables=np.ones_like(hidden),
            experts=experts,
            experts_per_token=np.where(sparse, self._said("top_k"), 0.0),
            expert_inner=np.where(sparse, self._column("moe_ffn", inner, among=sparse), 0.0),
            shared_experts=none,
            dense_layers=none,
        )
        shapes = replace(shapes, attention_share=self._attention_share(shapes))
        return replace(shapes, tables=self._tables(shapes))

    def _tables(self, shapes: Shapes) -> Floats:
        """Two where the weights that are said hold more than half of another.

        Else as is usual: models with gated MLPs have two.
        """
        said = self._column("params", np.nan, among=~self.is_sparse)
        is_plain = np.isnan(said) | (shapes.experts > 0)
        has_second = np.where(
            is_plain, shapes.is_gated > 0, said > shapes.weights + shapes.table / 2
        )
        return 1.0 + has_second

    def _attention_share(self, shapes: Shapes) -> Floats:
        """Below 1 where a token is said to meet fewer weights than heads times width make."""
        said = self._column("active_params", np.nan, among=self.is_sparse)
        attention = shapes.layers * shapes.attention_weights
        with np.errstate(all="ignore"):  # rows that are no shapes are among them
            rest = shapes.active_weights - attention
            is_less = shapes.active_weights > MANY_WEIGHTS * said
            share = np.clip((said - rest) / attention, LEAST_ATTENTION, 1.0)
        return np.where(is_less, share, 1.0)

    def _head_dim(self, hidden: Floats, heads: Floats, experts: Floats) -> Floats:
        """Width over heads; where that is not what the weights that are named say, theirs."""
        plain = hidden / heads
        # Sparse models often have heads wider than that; 128 is what most of them have.
        return np.where((experts > 0) & (plain < 128) & (plain != 64), 128.0, plain)

    def _work(self, degrees: Degrees) -> Work:
        kinds = [text.lower() for text in _texts(self.frame, "dtype")]
        again = [text.lower() for text in _texts(self.frame, "recompute")]
        self._assume("dtype", kinds.count(""))
        self._assume("recompute", again.count(""))
        least = np.nan_to_num(self._said("micro_batch"), nan=1.0)
        batch = self._column("global_batch", least * degrees.data * degrees.pipeline)
        # Without a word, FSDP without a pipeline takes all rows of a rank at once.
        is_whole = (self.sharding == Sharding.WEIGHTS) & (degrees.pipeline == 1.0)
        micro = np.where(is_whole, np.floor(batch / degrees.data), 1.0)
        return Work(
            row_tokens=self._said("seq_len"),
            batch_rows=batch,
            micro_rows=np.maximum(self._column("micro_batch", micro), 1.0),
            bits=np.array([_bits(kind) for kind in kinds]),
            is_row_scaled=np.array([float("rowwise" in kind) for kind in kinds]),
            recompute=np.array([recompute_of(text) for text in again]),
        )

    def _sharding(self) -> Floats:
        texts = [text.lower() for text in _texts(self.frame, "sharding")]
        self._assume("sharding", texts.count(""))
        return np.array(
            [
                sharding_of(text) if text else software.sharding
                for text, software in zip(texts, self.software, strict=True)
            ]
        )

    def _gradient_bytes(self) -> Floats:
        """DeepSpeed adds bfloat16 gradients up in float32, and keeps both (BF16_Optimizer)."""
        kinds = [text.lower() for text in _texts(self.frame, "dtype")]
        return np.array(
            [
                6.0 if software.sends_whole and "bf16" in kind else software.gradient_bytes
                for kind, software in zip(kinds, self.software, strict=True)
            ]
        )

    def _degrees(self) -> Degrees:
        tensor, pipeline = self._column("tp", 1.0), self._column("pp", 1.0)
        count = self._said("n_gpus")
        # More ranks than rows, and nobody says how: rows are cut over them.
        cut = _least_cut(count / (tensor * pipeline), self._said("global_batch"))
        context = self._column("cp", cut)
        rest = count / (tensor * pipeline * context)
        own = np.array([float(software.cuts_sequence) for software in self.software])
        return Degrees(
            tensor=tensor,
            is_sequence_cut=np.minimum(self._column("seq_parallel", own), 1.0),
            pipeline=pipeline,
            stages=self._column("vpp", 1.0),
            data=self._data(rest),
            context=context,
            expert=self._column("ep", 1.0, among=self.is_sparse),
            sharding=self.sharding,
            replicate=np.ones_like(tensor),
        )

    def _machines(self, work: Work) -> Machines:
        found = [self._accelerator(n, name) for n, name in enumerate(_texts(self.frame, "gpu"))]
        networks = [_network(text) for text in _texts(self.frame, "network")]
        self._assume("network", sum(not rate for rate in networks))

        def column(get: Callable[[Accelerator], float]) -> Floats:
            return np.array([np.nan if one is None else get(one) for one in found])

        low = [
            np.nan if one is None else _rate(one, bits)
            for one, bits in zip(found, work.bits, strict=True)
        ]
        nics = [
            np.nan if one is None else rate or one.nic_gb_per_s
            for one, rate in zip(found, networks, strict=True)
        ]
        memory_gb = self._column("gpu_mem_gb", column(lambda one: one.memory_gb))
        return Machines(
            flop_per_s=column(lambda one: one.measured_tflops[one.half]) * 1e12,
            low_flop_per_s=np.array(low) * 1e12,
            peak_flop_per_s=column(lambda one: one.peak_tflops[one.half]) * 1e12,
            cores=column(lambda one: float(one.num_cores)),
            memory_bytes=memory_gb * 1e9,
            memory_bytes_per_s=column(lambda one: one.memory_gb_per_s) * 1e9,
            scale_up_bytes_per_s=column(lambda one: one.scale_up_gb_per_s) * 1e9,
            scale_up_size=column(lambda one: float(one.scale_up_size)),
            nic_bytes_per_s=np.array(nics) * 1e9,
            pod_size=np.full(len(found), np.inf),
            oversubscription=np.ones(len(found)),
            is_measured=column(lambda one: float(one.is_measured)),
            is_hopper=column(lambda one: float(one.year >= 2022)),
        )

    def _accelerator(self, row: int, name: str) -> Accelerator | None:
        if not name:
            self.problems[row] = "gpu is blank"
            return None
        try:
            return find_accelerator(re.sub(r"\(.*\)", "", name), self.hardware)
        except ConfigError as error:
            self.problems[row] = f"gpu: {error.message}"
            return None

    def _stacks(self) -> Stacks:
        software = self.software
        self._assume("framework", self.framework.count(""))
        is_fsdp = (self.sharding == Sharding.WEIGHTS).astype(np.float64)
        by_rank = np.array([float("deepspeed" in name) for name in self.framework]) * is_fsdp
        overlaps = np.array([float(one.overlaps) for one in software])
        return Stacks(
            attention=np.array([one.attention for one in software]),
            is_norm_fused=np.array([float(one.is_norm_fused) for one in software]),
            is_fused=np.array([float(one.is_fused) for one in software]),
            overlaps_tensor=overlaps * (1.0 - is_fsdp),
            overlaps_data=overlaps,
            gathers_by_rank=by_rank,
            sends_whole=np.array([float(one.sends_whole) for one in software]),
            gradient_bytes=self._gradient_bytes(),
            gathers_logits=np.array([float(one.gathers_logits) for one in software]),
            is_context_even=np.array([float(one.is_context_even) for one in software]),
            hides_context=np.array([float(one.hides_context) for one in software]),
            logit_bytes=np.array([one.logit_bytes for one in software]),
            keeps_gathered=np.array([float(one.keeps_gathered) for one in software]),
        )

    def _with_recompute(self, setups: Setups) -> tuple[Setups, Setups]:
        """Where nobody says what is computed again: what costs little, if room is short.

        Whoever is out of room even then moves activations to the host, or computes layers again;
        tables with such gaps come from software that does the former, which costs little time.
        """
        is_blank = np.array([not text for text in _texts(self.frame, "recompute")], dtype=bool)
        chosen = np.where(is_blank, Recompute.LAYERS, setups.work.recompute)
        for kind in (Recompute.SMALL, Recompute.NOTHING):
            tried = _recomputing(setups, np.full_like(chosen, kind))
            with np.errstate(all="ignore"):  # rows that are no setups are among them
                chosen = np.where(is_blank & memory_of(tried).fits, kind, chosen)
        small = np.where(is_blank, np.minimum(chosen, Recompute.SMALL), chosen)
        return _recomputing(setups, small), _recomputing(setups, chosen)

    def _look(self, setups: Setups) -> None:
        """Name what keeps a row from being a setup."""
        shapes, degrees = setups.shapes, setups.degrees
        for name in NEEDED:
            if name != "gpu":  # named where it is looked for
                is_blank = np.isnan(self._said(name))
                self._refuse(f"{name} is blank or no number from 1 up", is_blank)
        for name in (*COUNTS, "n_experts"):
            said = np.nan_to_num(numbers_of(self.frame, name))
            self._refuse(f"{name} is no whole number", said != np.floor(said))
        is_even = np.floor(degrees.data) == degrees.data
        self._refuse("n_gpus is no multiple of tp * pp * cp", ~is_even)
        # Embedding and output matrix may count as a layer each.
        num_stages = degrees.pipeline * degrees.stages
        self._refuse("there are more stages, pp * vpp, than layers", num_stages > shapes.layers + 2)
        chosen = shapes.experts_per_token
        is_chosen = (chosen >= 1) & (chosen <= shapes.experts)
        self._refuse("top_k is blank or no number from 1 to n_experts", self.is_sparse & ~is_chosen)

    def _refuse(self, reason: str, rows: np.ndarray) -> None:
        for row in np.flatnonzero(rows).tolist():
            self.problems.setdefault(row, reason)


def _least_cut(ranks: Floats, rows: Floats) -> Floats:
    """Into how many parts to cut each row, at least, so that as many rows as there are do."""
    cut = np.ones_like(ranks)
    for place in np.flatnonzero((ranks > rows) & (ranks == np.floor(ranks))):
        count = ranks[place]
        low = np.arange(1.0, 1.0 + min(np.sqrt(count), MOST_TRIED))
        low = low[count % low == 0]
        parts = np.concatenate([low, count / low])
        cut[place] = parts[parts * rows[place] >= count].min()
    return cut


def _recomputing(setups: Setups, kind: Floats) -> Setups:
    return replace(setups, work=replace(setups.work, recompute=kind))


def _bits(kind: str) -> float:
    if "fp4" in kind:
        return 4.0
    is_low = any(word in kind for word in ("fp8", "float8", "int8"))
    return 8.0 if is_low else 16.0


def _rate(one: Accelerator, bits: float) -> float:
    """TFLOP/s in as few bits as the accelerator can."""
    names = {4.0: ("float4", "float8"), 8.0: ("float8",)}.get(bits, ())
    rates = [one.measured_tflops[name] for name in names if name in one.measured_tflops]
    return rates[0] if rates else one.measured_tflops[one.half]


def _network(text: str) -> float | None:
    """GB/s of one direction and accelerator, where a description of eight a machine says it."""
    found = re.search(r"(?:(\d{1,6}) ?x ?)?(\d{1,6}) ?gb/s", text.lower())
    if found is None:
        several = re.search(r"(\d{1,6}) ?x ?hdr", text.lower())
        return None if several is None else int(several[1]) * 200.0 / 8.0 / 8.0
    rate = int(found[2]) * int(found[1] or 1) / 8.0
    is_each = found[1] is None and re.search(r"per gpu", text.lower())
    return rate if is_each else rate / 8.0
