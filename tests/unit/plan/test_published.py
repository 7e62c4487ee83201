from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from tests.unit.plan.table_of import (
    DENSE,
    FULL,
    MEASURED,
    Cells,
    each_column,
    table_of,
    without,
    write_rows,
)

from mynah.errors import ConfigError, DataError
from mynah.plan.hardware import find_accelerator
from mynah.plan.predictions import predict
from mynah.plan.published import DEFAULTS, NEEDED, Table, read_table
from mynah.plan.setups import Attention, Recompute, Setups, Sharding

H100 = find_accelerator("H100")
OPTIONAL = sorted(set(DEFAULTS) - set(NEEDED))
OF_EXPERTS = ("top_k", "moe_ffn", "ep", "active_params")


def setups_of(folder: Path, *rows: Cells) -> Setups:
    found = table_of(folder, *rows)
    assert not found.problems
    return found.setups


def assert_same(first: Setups, second: Setups) -> None:
    for group in fields(Setups):
        one, other = getattr(first, group.name), getattr(second, group.name)
        for column in fields(one):
            left, right = getattr(one, column.name), getattr(other, column.name)
            np.testing.assert_array_equal(left, right, err_msg=column.name)


def assert_sound(found: Table) -> None:
    """What is read may be computed with; numpy's warnings are errors here."""
    said = predict(found.setups)
    for column in (said.tokens_per_s, said.low, said.high, said.memory_bytes, said.mfu):
        assert np.isfinite(column).all()
        assert (column > 0).all()


# What is said


def test_what_a_row_says_is_used(tmp_path: Path):
    found = setups_of(tmp_path, FULL)
    shapes, work, degrees = found.shapes, found.work, found.degrees
    assert (shapes.layers, shapes.hidden, shapes.heads, shapes.kv_heads) == (32, 4096, 32, 8)
    assert (shapes.inner, shapes.is_gated, shapes.vocab) == (14336, 1, 128256)
    assert (shapes.experts, shapes.experts_per_token, shapes.expert_inner) == (8, 2, 2048)
    assert (work.row_tokens, work.batch_rows, work.micro_rows, work.bits) == (4096, 512, 2, 16)
    assert (degrees.tensor, degrees.pipeline, degrees.stages) == (4, 2, 2)
    assert (degrees.data, degrees.context, degrees.expert) == (8, 1, 4)
    assert degrees.is_sequence_cut == 1
    assert degrees.sharding == Sharding.OPTIMIZER
    assert work.recompute == Recompute.NOTHING
    assert found.machines.memory_bytes == 80e9
    assert found.machines.nic_bytes_per_s == 50e9


def test_a_full_row_needs_no_default(tmp_path: Path):
    assert table_of(tmp_path, FULL).assumed == {}


@pytest.mark.parametrize(
    ("text", "bits"),
    [("bf16", 16), ("fp16", 16), ("FP8", 8), ("MXFP8", 8), ("float8 tensorwise", 8), ("NVFP4", 4)],
)
def test_precisions_are_read_from_what_people_write(tmp_path: Path, text: str, bits: float):
    found = setups_of(tmp_path, FULL | {"dtype": text})
    assert found.work.bits == bits
    is_low = found.machines.low_flop_per_s > found.machines.flop_per_s
    assert is_low == (bits < 16)


@pytest.mark.parametrize(
    ("text", "sharding"),
    [
        ("ZeRO-1", Sharding.OPTIMIZER),
        ("zero1", Sharding.OPTIMIZER),
        ("distributed optimizer/DDP", Sharding.OPTIMIZER),
        ("ZeRO-2", Sharding.GRADIENTS),
        ("ZeRO-3", Sharding.WEIGHTS),
        ("FSDP FULL_SHARD", Sharding.WEIGHTS),
        ("none (DDP)", Sharding.NOTHING),
    ],
)
def test_sharding_is_read_from_what_people_write(tmp_path: Path, text: str, sharding: float):
    assert setups_of(tmp_path, FULL | {"sharding": text}).degrees.sharding == sharding


@pytest.mark.parametrize(
    ("text", "recompute"),
    [
        ("none", Recompute.NOTHING),
        ("no", Recompute.NOTHING),
        ("full", Recompute.LAYERS),
        ("yes", Recompute.LAYERS),
    ],
)
def test_recomputation_is_read_from_what_people_write(tmp_path: Path, text: str, recompute: float):
    assert setups_of(tmp_path, FULL | {"recompute": text}).work.recompute == recompute


def test_software_says_how_attention_is_computed(tmp_path: Path):
    names = ["Megatron-LM", "torchtitan", "NeMo 24.07", "something new"]
    found = setups_of(tmp_path, *(FULL | {"framework": name} for name in names))
    assert found.stacks.attention.tolist() == [
        Attention.FUSED_SOFTMAX,
        Attention.FLASH_2,
        Attention.FLASH_3,
        Attention.FLASH_2,
    ]
    assert found.stacks.overlaps_data.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "gb_per_s"),
    [
        ("3200 Gb/s per node", 50),
        ("8x 400 Gb/s InfiniBand per 8-GPU node", 50),
        ("4x 100 Gb/s Omni-Path per 8-GPU node", 6.25),
        ("400 Gb/s per GPU", 50),
        ("something quick", H100.nic_gb_per_s),
    ],
)
def test_networks_are_read_from_what_people_write(tmp_path: Path, text: str, gb_per_s: float):
    found = setups_of(tmp_path, FULL | {"network": text})
    assert found.machines.nic_bytes_per_s == gb_per_s * 1e9


def test_numbers_may_have_spaces_commas_and_exponents(tmp_path: Path):
    odd = FULL | {"vocab": " 128,256 ", "seq_len": "4.096e3", "layers": "32.0"}
    assert_same(setups_of(tmp_path, odd), setups_of(tmp_path, FULL))


def test_accelerators_have_names_in_brackets_and_any_case(tmp_path: Path):
    odd = FULL | {"gpu": "h100-sxm-80gb (in Texas)"}
    assert_same(setups_of(tmp_path, odd), setups_of(tmp_path, FULL))


def test_hardware_of_ones_own_may_be_named(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text(
        '[[accelerator]]\nname = "Ours"\npeak_tflops = { bfloat16 = 100 }\n'
        "measured_tflops = { bfloat16 = 90 }\nmemory_gb = 64\nmemory_gb_per_s = 2000\n"
        "scale_up_gb_per_s = 100\nscale_up_size = 4\nnic_gb_per_s = 10\nnum_cores = 64\n"
        "power_w = 500\nrental_usd_per_h = [1, 2]\n"
    )
    path = write_rows(tmp_path / "runs.csv", FULL | {"gpu": "Ours", "gpu_mem_gb": ""})
    machines = read_table(path, hardware=own).setups.machines
    assert machines.flop_per_s == 90e12
    assert machines.memory_bytes == 64e9
    assert read_table(path).problems.keys() == {0}


# What is not said


def test_every_default_is_of_a_column_that_is_read():
    unknown = set(each_column()) ^ (set(DEFAULTS) | set(NEEDED))
    assert not unknown, "a full row of table_of.py has a cell for each, and no other"


@pytest.mark.parametrize("how", ["missing", "blank"])
@pytest.mark.parametrize("name", [name for name in OPTIONAL if name != "top_k"])
def test_a_default_is_used_and_listed(tmp_path: Path, name: str, how: str):
    row = DENSE if name == "params" else FULL
    row = row | {"dp": {"tp": "32", "pp": "16"}.get(name, "8")}
    row = without(row, name) if how == "missing" else row | {name: ""}
    found = table_of(tmp_path, row)
    assert found.assumed == {name: 1}
    assert found.which.tolist() == [0]


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_missing_column_is_as_good_as_a_blank_cell(tmp_path: Path, name: str):
    missing = table_of(tmp_path, without(FULL, name))
    blank = table_of(tmp_path, FULL | {name: ""})
    assert (missing.assumed, missing.problems) == (blank.assumed, blank.problems)
    assert_same(missing.setups, blank.setups)


@pytest.mark.parametrize("name", OF_EXPERTS)
def test_what_is_of_experts_is_not_asked_of_a_dense_model(tmp_path: Path, name: str):
    found = table_of(tmp_path, without(DENSE, name), without(DENSE, "n_experts", *OF_EXPERTS))
    assert found.assumed == {"n_experts": 1}
    assert not found.problems


@pytest.mark.parametrize("name", ["dtype", "framework", "sharding", "recompute", "network"])
@pytest.mark.parametrize("cell", ["n/a", "-", "null", "?", "NaN"])
def test_a_text_that_says_nothing_is_blank(tmp_path: Path, name: str, cell: str):
    odd, blank = (table_of(tmp_path, FULL | {name: one}) for one in (cell, ""))
    assert odd.assumed == blank.assumed == {name: 1}
    assert_same(odd.setups, blank.setups)


@pytest.mark.parametrize("cell", ["", "0", "8e9", "7"])
def test_weights_in_billions_or_none_say_nothing(tmp_path: Path, cell: str):
    shapes = setups_of(tmp_path, FULL | {"active_params": cell}).shapes
    assert (shapes.attention_share == 1).all()


def test_experts_without_a_width_have_that_of_the_mlp(tmp_path: Path):
    assert setups_of(tmp_path, FULL | {"moe_ffn": ""}).shapes.expert_inner == 14336
    assert setups_of(tmp_path, FULL | {"moe_ffn": "0", "ffn": ""}).shapes.expert_inner == 4 * 4096
    assert setups_of(tmp_path, FULL | {"ffn": ""}).shapes.inner == 2048


def test_a_single_expert_is_an_mlp(tmp_path: Path):
    odd = DENSE | {"n_experts": "1", "top_k": "1", "ffn": ""}
    assert_same(setups_of(tmp_path, odd), setups_of(tmp_path, DENSE | {"ffn": ""}))


@pytest.mark.parametrize(("batch", "context"), [("64", 1), ("8", 8), ("5", 16), ("1", 64)])
def test_rows_are_cut_over_ranks_that_have_none(tmp_path: Path, batch: str, context: int):
    row = DENSE | {"tp": "1", "pp": "1", "vpp": "1", "dp": "", "cp": "", "global_batch": batch}
    degrees = setups_of(tmp_path, row).degrees
    assert (degrees.context, degrees.data) == (context, 64 // context)


@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("kv_heads", "32"),
        ("micro_batch", "1"),
        ("tp", "1"),
        ("pp", "1"),
        ("vpp", "1"),
        ("dp", "8"),
        ("cp", "1"),
        ("ep", "1"),
        ("seq_parallel", "0"),
        ("sharding", "none"),
        ("dtype", "bf16"),
        ("gpu_mem_gb", "80"),
        ("network", "3200 Gb/s per node"),
    ],
)
def test_a_default_is_what_is_stated(tmp_path: Path, name: str, same_as: str):
    row = DENSE | ({"dp": ""} if name in ("tp", "pp", "cp") else {})
    assert_same(setups_of(tmp_path, row | {name: ""}), setups_of(tmp_path, row | {name: same_as}))


def test_the_width_of_a_dense_mlp_is_four_times_the_models(tmp_path: Path):
    plain = without(DENSE, "ffn", "gated_mlp")
    found = setups_of(tmp_path, plain).shapes
    assert found.inner == 4 * 4096
    assert found.is_gated == 0


def test_defaults_of_rows_are_counted(tmp_path: Path):
    rows = [DENSE | {"tp": cell, "dp": ""} for cell in ("4", "", "four", "4", "")]
    assert table_of(tmp_path, *rows).assumed == {"tp": 3, "dp": 5}


def test_megatron_core_cuts_the_sequence_and_shares_the_optimizer_by_itself(tmp_path: Path):
    blank = DENSE | {"seq_parallel": "", "sharding": ""}
    found = setups_of(
        tmp_path, blank | {"framework": "Megatron-Core"}, blank | {"framework": "DeepSpeed"}
    ).degrees
    assert found.is_sequence_cut.tolist() == [1, 0]
    assert found.sharding.tolist() == [Sharding.OPTIMIZER, Sharding.NOTHING]


# What is odd


@pytest.mark.parametrize("name", [name for name in NEEDED if name != "gpu"])
@pytest.mark.parametrize("cell", ["", "  ", "many", "-8", "nan", "inf", "n/a", "1/0"])
def test_a_row_that_lacks_what_is_needed_is_named(tmp_path: Path, name: str, cell: str):
    found = table_of(tmp_path, FULL, DENSE | {name: cell, "dp": ""}, FULL)
    assert found.which.tolist() == [0, 2]
    assert len(found.setups) == 2
    assert list(found.problems) == [1]
    assert name in found.problems[1]


@pytest.mark.parametrize("cell", ["", "Voodoo 2", "0"])
def test_an_unknown_accelerator_is_named(tmp_path: Path, cell: str):
    found = table_of(tmp_path, FULL, FULL | {"gpu": cell})
    assert found.which.tolist() == [0]
    assert "gpu" in found.problems[1]
    assert cell in found.problems[1]


@pytest.mark.parametrize("cell", ["", "n/a", "?"])
def test_a_blank_accelerator_is_named(tmp_path: Path, cell: str):
    assert table_of(tmp_path, FULL | {"gpu": cell}).problems == {0: "gpu is blank"}


@pytest.mark.parametrize("name", ["kv_heads", "ffn", "micro_batch", "tp", "pp", "cp", "ep", "vpp"])
@pytest.mark.parametrize("cell", ["two", "-2", "inf", "?", "2;4"])
def test_an_odd_cell_gets_the_default_and_is_listed(tmp_path: Path, name: str, cell: str):
    found = table_of(tmp_path, FULL | {name: cell})
    assert name in found.assumed
    assert_same(found.setups, setups_of(tmp_path, FULL | {name: ""}))


@pytest.mark.parametrize("name", [name for name in NEEDED if name != "gpu"])
@pytest.mark.parametrize("cell", ["0", "1e300"])
def test_zero_and_absurd_numbers_are_named(tmp_path: Path, name: str, cell: str):
    found = table_of(tmp_path, DENSE, DENSE | {name: cell})
    assert found.problems == {1: f"{name} is blank or no number from 1 up"}
    assert_sound(found)


@pytest.mark.parametrize(
    "name", ["params", "active_params", "global_batch", "gpu_mem_gb", "ffn", "tp", "cp", "dp", "ep"]
)
@pytest.mark.parametrize("cell", ["0", "1e300"])
def test_zero_and_absurd_numbers_get_a_default_where_there_is_one(
    tmp_path: Path, name: str, cell: str
):
    row = DENSE if name == "params" else FULL
    found = table_of(tmp_path, row | {name: cell})
    assert name in found.assumed
    assert_same(found.setups, setups_of(tmp_path, row | {name: ""}))
    assert_sound(found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_gpus": "4", "dp": ""}, "n_gpus is no multiple of tp * pp * cp"),
        ({"n_gpus": "12", "dp": "", "cp": "", "global_batch": "1"}, "n_gpus is no multiple"),
        ({"tp": "0.5", "dp": ""}, "tp is no whole number"),
        ({"layers": "32.5"}, "layers is no whole number"),
        ({"n_experts": "7.5"}, "n_experts is no whole number"),
        ({"pp": "64", "n_gpus": "512", "dp": "2"}, "more stages, pp * vpp, than layers"),
        ({"n_experts": "8", "top_k": ""}, "top_k is blank"),
        ({"n_experts": "8", "top_k": "0"}, "top_k is blank"),
        ({"n_experts": "8", "top_k": "9"}, "no number from 1 to n_experts"),
    ],
)
def test_a_row_that_no_run_can_be_is_named(tmp_path: Path, change: dict[str, str], reason: str):
    found = table_of(tmp_path, DENSE, DENSE | change)
    assert found.which.tolist() == [0]
    assert reason in found.problems[1]


def test_the_layout_comes_to_the_accelerators_whatever_dp_says(tmp_path: Path):
    found = table_of(tmp_path, DENSE | {"dp": "3"})
    assert found.assumed == {"dp": 1}
    assert found.setups.degrees.data == 8
    assert found.setups.degrees.accelerators == 64


def test_a_table_may_have_no_row(tmp_path: Path):
    path = tmp_path / "runs.csv"
    path.write_text(",".join(FULL) + "\n")
    found = read_table(path)
    assert len(found.setups) == len(found.roomiest) == len(found.measured()) == 0
    assert (found.problems, found.assumed) == ({}, {})


def test_no_row_may_be_good(tmp_path: Path):
    found = table_of(tmp_path, FULL | {"gpu": "?"}, FULL | {"layers": ""})
    assert len(found.setups) == 0
    assert list(found.problems) == [0, 1]
    assert found.measured().tolist() == []


def test_a_row_of_blanks_is_named(tmp_path: Path):
    found = table_of(tmp_path, FULL, dict.fromkeys(FULL, ""))
    assert found.which.tolist() == [0]
    assert list(found.problems) == [1]


@pytest.mark.parametrize("name", NEEDED)
def test_a_table_that_lacks_what_is_needed_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=f"lacks the columns {name}") as caught:
        table_of(tmp_path, without(FULL, name))
    assert name in str(caught.value.hint)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x81\x82\xff\n1", b'layers,hidden\n1,2,3,4\n"', b"\x00" * 64],
    ids=["empty", "not UTF-8", "ragged", "zeros"],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    with pytest.raises((DataError, ConfigError)):
        read_table(path)


@pytest.mark.parametrize(
    ("place", "reason"), [("missing.csv", "No such file"), (".", "Is a directory")]
)
def test_what_is_not_there_is_refused(tmp_path: Path, place: str, reason: str):
    with pytest.raises(DataError, match=reason):
        read_table(tmp_path / place)


# What was measured


def test_what_was_measured_is_read_by_itself(tmp_path: Path):
    rows = [
        FULL | MEASURED,
        FULL | MEASURED | {"gpu": "?"},
        FULL | MEASURED | {"derived_tokens_per_s_per_gpu": ""},
    ]
    found = table_of(tmp_path, *rows)
    assert found.measured()[0] == 9001
    assert np.isnan(found.measured()[1])
    assert len(found.measured()) == 2


def test_nobody_needs_to_have_measured(tmp_path: Path):
    assert np.isnan(table_of(tmp_path, FULL).measured()).all()


def test_a_setup_is_the_same_with_and_without_measurements(tmp_path: Path):
    assert_same(setups_of(tmp_path, FULL | MEASURED), setups_of(tmp_path, FULL))
