"""Tables of runs as people publish them, read as setups.

What is said is used; what is not is a stated default.

Reads CSV files with the columns of ``docs/reference/plan.md``; writes nothing. Columns of what was
measured are read by ``measured`` alone: no prediction sees them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mynah.errors import ConfigError, DataError
from mynah.plan.hardware import Accelerator, find_accelerator
from mynah.plan.setups import (
    Attention,
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

__all__ = ["Table", "read_table"]

NEEDED = ("layers", "hidden", "heads", "vocab", "seq_len", "global_batch", "gpu", "n_gpus")
"""Columns without which nothing can be said of a row."""
DEFAULTS: dict[str, str] = {
    "kv_heads": "as many as heads",
    "ffn": "4 times hidden; the width of an expert where there are experts",
    "gated_mlp": "0; 1 where there are experts",
    "n_experts": "0",
    "top_k": "0",
    "moe_ffn": "0",
    "micro_batch": "1",
    "tp": "1",
    "pp": "1",
    "vpp": "1",
    "dp": "n_gpus / (tp * pp * cp)",
    "cp": "1",
    "ep": "1",
    "seq_parallel": "1 where the framework has it on by itself (Megatron-Core and its kin), else 0",
    "sharding": "none",
    "recompute": "none",
    "dtype": "bf16",
    "framework": "FlashAttention-2, no compiler, nothing overlapped",
    "network": "what the accelerator's clusters have",
    "gpu_mem_gb": "that of the accelerator",
}
"""What is assumed where a column is missing or a cell is blank."""

MEASURED = "derived_tokens_per_s_per_gpu"
"""The column that predictions are compared with."""
_BLANK = ("", "null", "none", "nan", "na", "n/a", "-", "?")


@dataclass(frozen=True, slots=True)
class _Software:
    """What is publicly known of a training framework."""

    pattern: str
    """Found in the framework's name, upper or lower case."""
    attention: float
    is_norm_fused: bool
    is_fused: bool
    overlaps: bool
    """Collectives of tensor and data parallelism run beside products."""
    cuts_sequence: bool = False
    """Sequence parallelism unless a column says otherwise."""
    sends_whole: bool = False
    keeps_wide_gradients: bool = True
    gathers_logits: bool = False
    is_context_even: bool = True
    hides_context: bool = True
    slices_loss: bool = False
    keeps_gathered: bool = False


SOFTWARE = (
    # Transformer Engine: cuDNN attention, fused norms, sequence parallelism by default.
    _Software(r"nemo|megatron.?bridge|megatron.?core", Attention.FLASH_3, True, True, True, True),
    # A sweep that names its kernels: Llama in plain PyTorch otherwise.
    *(
        _Software(
            f"kernel={kernel}",
            attention,
            is_norm_fused,
            False,
            False,
            keeps_wide_gradients=False,
            gathers_logits=True,
        )
        for kernel, attention, is_norm_fused in (
            (r"flash_attention2 \+ rms", Attention.FLASH_2, True),
            ("flash_attention2", Attention.FLASH_2, False),
            ("flash_attentionv1", Attention.FLASH_1, False),
            ("fused", Attention.FUSED_SOFTMAX, False),
            ("torch", Attention.EAGER, False),
        )
    ),
    # PyTorch's own attention is FlashAttention-2, layers are compiled, keys gathered beforehand.
    _Software(r"torchtitan|compile", Attention.FLASH_2, True, True, True, hides_context=False),
    _Software(
        r"megatron.*deepspeed|deepspeed|neox",
        Attention.FUSED_SOFTMAX,
        True,
        True,
        False,
        sends_whole=True,
        keeps_wide_gradients=False,
    ),
    _Software(r"megatron|metaseq|colossal", Attention.FUSED_SOFTMAX, True, True, False),
    _Software(r"xformers", Attention.FLASH_1, True, False, True),
    _Software(r"mynah", Attention.FLASH_2, True, True, True),
)
"""The first that matches; sources are the frameworks' own papers and release notes."""
PLAIN = _Software("", Attention.FLASH_2, False, False, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that could be read as setups, and what was assumed."""

    frame: pl.DataFrame
    """The file as it is, every column text."""
    which: np.ndarray
    """Numbers of the rows that are setups."""
    setups: Setups
    problems: dict[int, str]
    """Of each other row, what is missing or odd."""
    assumed: dict[str, int]
    """How many rows got the default of a column, as far as they needed it."""

    def measured(self) -> Floats:
        """Tokens per second and accelerator of the setups; NaN where nobody says."""
        if MEASURED not in self.frame.columns:
            return np.full(len(self.which), np.nan)
        return _numbers(self.frame, MEASURED)[self.which]


def read_table(path: Path, *, hardware: Path | None = None) -> Table:
    """Read one CSV file.

    Args:
        path: With a header; columns that are not known are kept and not used.
        hardware: More accelerators than are known.

    Raises:
        DataError: There is no such file, or it is no table.
        ConfigError: A column that everything rests on is missing.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", hint="name a CSV file of runs"
        ) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path} is no CSV table: {str(error).splitlines()[0]}",
            hint="one line of names, then one line a run, all of as many cells",
        ) from error
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise ConfigError(
            f"{path} lacks the columns {', '.join(missing)}",
            hint=f"a run is described by at least {', '.join(NEEDED)}",
        )
    return _Reader(frame, hardware).table()


def _numbers(frame: pl.DataFrame, name: str) -> Floats:
    """A column as numbers; NaN where a cell is blank, text, or not finite and above zero."""
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    text = frame[name].cast(pl.String).str.strip_chars().str.replace_all(",", "")
    found = text.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(found) & (found >= 0), found, np.nan)


def _texts(frame: pl.DataFrame, name: str) -> list[str]:
    if name not in frame.columns:
        return [""] * frame.height
    cells = (cell.strip() for cell in frame[name].fill_null("").to_list())
    return ["" if cell.lower() in _BLANK[:1] else cell for cell in cells]


class _Reader:
    """One file on its way to setups."""

    def __init__(self, frame: pl.DataFrame, hardware: Path | None) -> None:
        self.frame, self.hardware = frame, hardware
        self.assumed: dict[str, int] = {}
        self.problems: dict[int, str] = {}
        self.framework = [text.lower() for text in _texts(frame, "framework")]
        self.software = [_software(name) for name in self.framework]

    def table(self) -> Table:
        shapes, work, degrees = self._shapes(), self._work(), self._degrees()
        machines, stacks = self._machines(work), self._stacks()
        whole = Setups(shapes=shapes, work=work, degrees=degrees, machines=machines, stacks=stacks)
        self._look(whole)
        which = np.array([n for n in range(self.frame.height) if n not in self.problems], dtype=int)
        return Table(
            frame=self.frame,
            which=which,
            setups=whole.take(which),
            problems=self.problems,
            assumed=self.assumed,
        )

    def _column(self, name: str, default: Floats | float | None = None) -> Floats:
        found = _numbers(self.frame, name)
        blank = np.isnan(found)
        if default is None or not blank.any():
            return found
        self._assume(name, int(blank.sum()))
        return np.where(blank, default, found)

    def _assume(self, name: str, count: int) -> None:
        if count:
            self.assumed[name] = self.assumed.get(name, 0) + count

    def _shapes(self) -> Shapes:
        hidden, heads = self._column("hidden"), self._column("heads")
        experts = self._column("n_experts", 0.0)
        expert_inner = self._column("moe_ffn", 0.0)
        dense = np.where(experts > 0, expert_inner, 4.0 * hidden)
        none = np.zeros_like(hidden)
        return Shapes(
            layers=self._column("layers"),
            hidden=hidden,
            heads=heads,
            kv_heads=self._column("kv_heads", heads),
            head_dim=self._head_dim(hidden, heads, experts),
            inner=self._column("ffn", dense),
            is_gated=np.minimum(self._column("gated_mlp", (experts > 0).astype(float)), 1.0),
            vocab=self._column("vocab"),
            experts=experts,
            experts_per_token=self._column("top_k", 0.0),
            expert_inner=expert_inner,
            shared_experts=none,
            dense_layers=none,
        )

    def _head_dim(self, hidden: Floats, heads: Floats, experts: Floats) -> Floats:
        """Width over heads; where that is not what the weights that are named say, theirs."""
        plain = hidden / heads
        # Sparse models often have heads wider than that; 128 is what most of them have.
        return np.where((experts > 0) & (plain < 128) & (plain != 64), 128.0, plain)

    def _work(self) -> Work:
        kinds = [text.lower() for text in _texts(self.frame, "dtype")]
        again = [text.lower() for text in _texts(self.frame, "recompute")]
        self._assume("dtype", kinds.count(""))
        self._assume("recompute", again.count(""))
        return Work(
            row_tokens=self._column("seq_len"),
            batch_rows=self._column("global_batch"),
            micro_rows=np.maximum(self._column("micro_batch", 1.0), 1.0),
            bits=np.array([_bits(kind) for kind in kinds]),
            is_row_scaled=np.array([float("rowwise" in kind) for kind in kinds]),
            recompute=np.array([_recompute(text) for text in again]),
        )

    def _degrees(self) -> Degrees:
        tensor, pipeline = self._column("tp", 1.0), self._column("pp", 1.0)
        context = self._column("cp", 1.0)
        rest = self._column("n_gpus") / (tensor * pipeline * context)
        own = np.array([float(software.cuts_sequence) for software in self.software])
        shared = [text.lower() for text in _texts(self.frame, "sharding")]
        self._assume("sharding", shared.count(""))
        return Degrees(
            tensor=tensor,
            is_sequence_cut=np.minimum(self._column("seq_parallel", own), 1.0),
            pipeline=pipeline,
            stages=np.maximum(self._column("vpp", 1.0), 1.0),
            data=self._column("dp", rest),
            context=context,
            expert=np.maximum(self._column("ep", 1.0), 1.0),
            sharding=np.array([_sharding(text) for text in shared]),
            replicate=np.ones_like(tensor),
        )

    def _machines(self, work: Work) -> Machines:
        found = [self._accelerator(n, name) for n, name in enumerate(_texts(self.frame, "gpu"))]
        networks = _texts(self.frame, "network")
        memory = _numbers(self.frame, "gpu_mem_gb")

        def column(get: Callable[[Accelerator], float]) -> Floats:
            return np.array([np.nan if one is None else get(one) for one in found])

        low = [
            np.nan if one is None else _rate(one, bits)
            for one, bits in zip(found, work.bits, strict=True)
        ]
        nics = [
            np.nan if one is None else _network(text) or one.nic_gb_per_s
            for one, text in zip(found, networks, strict=True)
        ]
        built_in = column(lambda one: one.memory_gb)
        return Machines(
            flop_per_s=column(lambda one: one.measured_tflops[one.half]) * 1e12,
            low_flop_per_s=np.array(low) * 1e12,
            peak_flop_per_s=column(lambda one: one.peak_tflops[one.half]) * 1e12,
            cores=column(lambda one: float(one.num_cores)),
            memory_bytes=np.where(np.isnan(memory), built_in, memory) * 1e9,
            memory_bytes_per_s=column(lambda one: one.memory_gb_per_s) * 1e9,
            scale_up_bytes_per_s=column(lambda one: one.scale_up_gb_per_s) * 1e9,
            scale_up_size=column(lambda one: float(one.scale_up_size)),
            nic_bytes_per_s=np.array(nics) * 1e9,
            pod_size=np.full(len(found), np.inf),
            oversubscription=np.ones(len(found)),
            is_hopper=column(lambda one: float(one.year >= 2022)),
        )

    def _accelerator(self, row: int, name: str) -> Accelerator | None:
        try:
            return find_accelerator(re.sub(r"\(.*\)", "", name), self.hardware)
        except ConfigError as error:
            self.problems[row] = f"gpu: {error.message}"
            return None

    def _stacks(self) -> Stacks:
        software = self.software
        shared = [text.lower() for text in _texts(self.frame, "sharding")]
        self._assume("framework", self.framework.count(""))
        by_rank = [
            float("deepspeed" in name and _sharding(text) == Sharding.WEIGHTS)
            for name, text in zip(self.framework, shared, strict=True)
        ]
        overlaps = np.array([float(one.overlaps) for one in software])
        is_fsdp = np.array([float(_sharding(text) == Sharding.WEIGHTS) for text in shared])
        return Stacks(
            attention=np.array([one.attention for one in software]),
            is_norm_fused=np.array([float(one.is_norm_fused) for one in software]),
            is_fused=np.array([float(one.is_fused) for one in software]),
            overlaps_tensor=overlaps * (1.0 - is_fsdp),
            overlaps_data=overlaps,
            gathers_by_rank=np.array(by_rank),
            sends_whole=np.array([float(one.sends_whole) for one in software]),
            keeps_wide_gradients=np.array([float(one.keeps_wide_gradients) for one in software]),
            gathers_logits=np.array([float(one.gathers_logits) for one in software]),
            is_context_even=np.array([float(one.is_context_even) for one in software]),
            hides_context=np.array([float(one.hides_context) for one in software]),
            slices_loss=np.array([float(one.slices_loss) for one in software]),
            keeps_gathered=np.array([float(one.keeps_gathered) for one in software]),
        )

    def _look(self, setups: Setups) -> None:
        """Name what keeps a row from being a setup."""
        shapes, work, degrees = setups.shapes, setups.work, setups.degrees
        needed = {
            "layers": shapes.layers,
            "hidden": shapes.hidden,
            "heads": shapes.heads,
            "vocab": shapes.vocab,
            "seq_len": work.row_tokens,
            "global_batch": work.batch_rows,
            "n_gpus, tp, pp, cp or dp": degrees.data,
            "tp": degrees.tensor,
            "pp": degrees.pipeline,
            "cp": degrees.context,
        }
        for name, column in needed.items():
            for row in np.flatnonzero(~(column > 0)):
                self.problems.setdefault(int(row), f"{name} is blank or no number above zero")


def _software(name: str) -> _Software:
    return next((one for one in SOFTWARE if re.search(one.pattern, name)), PLAIN)


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


def _recompute(text: str) -> float:
    if "selective" in text:
        return Recompute.SELECTIVE
    return Recompute.LAYERS if re.match(r"full|yes|layers|true|1", text) else Recompute.NOTHING


def _sharding(text: str) -> float:
    if re.search(r"zero-?3|fsdp|full shard|hsdp", text):
        return Sharding.WEIGHTS
    if re.search(r"zero-?2", text):
        return Sharding.GRADIENTS
    if re.search(r"zero-?1|distributed optimizer", text):
        return Sharding.OPTIMIZER
    return Sharding.NOTHING


def _network(text: str) -> float | None:
    """GB/s of one direction and accelerator, where a description of eight a machine says it."""
    found = re.search(r"(?:(\d+) ?x ?)?(\d+) ?gb/s", text.lower())
    if found is None:
        several = re.search(r"(\d+) ?x ?hdr", text.lower())
        return None if several is None else int(several[1]) * 200.0 / 8.0 / 8.0
    rate = int(found[2]) * int(found[1] or 1) / 8.0
    is_each = found[1] is None and re.search(r"per gpu", text.lower())
    return rate if is_each else rate / 8.0
