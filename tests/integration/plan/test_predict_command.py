"""`mynah plan predict` and `validate` on tables as people have them: good, odd, none at all."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.job_process import MYNAH, refusal
from tests.fakes.plan_commands import RUN, invoke, refused, rows, write_runs

from mynah.cli.plan_predicted import MAX_TOLD
from mynah.plan.predictions import COLUMNS
from mynah.plan.published import DEFAULTS, NEEDED

# Good tables


def test_predictions_are_written_beside_what_was_there(tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN | {"id": "a", "notes": 'two\nlines, "quoted"'})
    done = invoke("predict", "--runs", runs)
    (row,) = rows(done.stdout)
    assert row["notes"] == 'two\nlines, "quoted"'
    assert 0 < float(row["predicted_low"]) < float(row[COLUMNS[0]]) < float(row["predicted_high"])
    assert row["predicted_fits"] == "yes"
    assert 0 < float(row["predicted_mfu"]) < 1
    assert "1 row, 1 predicted, 0 not" in done.stderr


def test_predictions_go_to_a_file_that_is_named(tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN)
    done = invoke("predict", "--runs", runs, "--out", tmp_path / "out.csv")
    assert done.stdout == f"{tmp_path / 'out.csv'}\n"
    assert (tmp_path / "out.csv").read_text() == invoke("predict", "--runs", runs).stdout
    invoke("predict", "--runs", runs, "--out", runs)  # in the place of what was read
    assert rows(runs.read_text()) == rows((tmp_path / "out.csv").read_text())


def test_predictions_never_look_at_what_was_measured(tmp_path: Path):
    measured = {
        "derived_tokens_per_s_per_gpu": "123",
        "mfu": "0.9",
        "step_time_s": "1",
        "memory_gb": "3",
        "measured_tflops_per_gpu": "700",
        "outcome": "OOM",
    }
    alone, beside = (
        rows(invoke("predict", "--runs", write_runs(tmp_path / "runs.csv", run)).stdout)[0]
        for run in (RUN, RUN | measured)
    )
    assert [alone[name] for name in COLUMNS] == [beside[name] for name in COLUMNS]


def test_what_is_assumed_is_told_column_by_column(tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN, RUN | {"tp": "8", "dtype": "bf16"})
    told = invoke("predict", "--runs", runs).stderr.splitlines()
    assert any(line.split()[:3] == ["tp", "1", "row"] for line in told)
    assert any(line.split()[:3] == ["pp", "2", "rows"] for line in told)
    assert any("kv_heads" in line and DEFAULTS["kv_heads"] in line for line in told)


def test_rows_that_are_no_runs_are_kept_and_told_with_their_reason(tmp_path: Path):
    odd = [RUN | {"layers": "many"}, RUN | {"gpu": "H1000"}] * MAX_TOLD
    done = invoke("predict", "--runs", write_runs(tmp_path / "runs.csv", RUN, *odd))
    written = rows(done.stdout)
    assert len(written) == 1 + 2 * MAX_TOLD
    assert [bool(row[COLUMNS[0]]) for row in written] == [True] + [False] * 2 * MAX_TOLD
    told = done.stderr.splitlines()
    reasons = [line for line in told if line.startswith("  row ")]
    assert len(reasons) == MAX_TOLD
    assert reasons[0].startswith("  row 2: layers is blank or no number")
    assert "no accelerator is called 'H1000'" in reasons[1]
    assert told[-1] == f"  and {MAX_TOLD} rows more"


def test_machines_get_the_same_predictions(tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN | {"n_gpus": ""}, RUN)
    found = json.loads(invoke("predict", "--runs", runs, "--json").stdout)
    assert found["num_rows"] == 2
    assert list(found["problems"]) == ["1"]
    assert found["assumed"]["pp"] == {"num_rows": 2, "default": "1"}
    (row,) = found["predictions"]
    shown = rows(invoke("predict", "--runs", runs).stdout)[1]
    assert row["row"] == 2
    assert row[COLUMNS[0]] == pytest.approx(float(shown[COLUMNS[0]]), rel=1e-4)
    assert row["predicted_fits"] is True


def test_an_accelerator_of_ones_own_is_predicted(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text(ACCELERATOR)
    runs = write_runs(tmp_path / "runs.csv", RUN | {"gpu": "ours"}, RUN)
    done = invoke("predict", "--runs", runs, "--hardware", own)
    ours, theirs = (float(row[COLUMNS[0]]) for row in rows(done.stdout))
    assert 0 < ours < theirs


ACCELERATOR = """[[accelerator]]
name = "Ours-64GB"
aliases = ["ours"]
peak_tflops = { bfloat16 = 400 }
measured_tflops = { bfloat16 = 300 }
memory_gb = 64
memory_gb_per_s = 1600
scale_up_gb_per_s = 200
scale_up_size = 4
nic_gb_per_s = 25
num_cores = 96
power_w = 500
rental_usd_per_h = [1.0, 1.5]
"""


# Odd tables


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", " , "),
        lambda text: text.replace("layers", "Layers"),
        lambda text: "\n\n" + text,
        lambda text: text.replace("4096", '"4,096"'),
        lambda text: text.replace("4096", " 4096 "),
        lambda text: text.replace("layers", "layers,layers").replace("\n32", "\n32,99"),
    ],
    ids=[
        *("byte-order-mark", "crlf", "cr", "semicolons", "tabs", "spaces", "upper-case"),
        *("blank-lines", "thousands", "padded", "column-twice"),
    ],
)
def test_a_table_may_be_written_as_other_programs_do(change, tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN)
    plain = rows(invoke("predict", "--runs", runs).stdout)[0]
    runs.write_bytes(change(runs.read_text()).encode())
    again = rows(invoke("predict", "--runs", runs).stdout)[0]
    assert [again[name] for name in COLUMNS] == [plain[name] for name in COLUMNS]


@pytest.mark.parametrize("cell", ["0", "-1", "inf", "nan", "1e400", "1e300", "x", "?", '"', "1;2"])
@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_cell_that_says_nothing_gets_the_default(name: str, cell: str, tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN | {name: cell})
    (row,) = rows(invoke("predict", "--runs", runs).stdout)
    assert float(row[COLUMNS[0]]) > 0


def test_a_comma_is_a_decimal_point_where_semicolons_part_the_cells(tmp_path: Path):
    given = RUN | {"gpu_mem_gb": "79,5"}
    own = rows(
        invoke("predict", "--runs", write_runs(tmp_path / "a.csv", given, parter=";")).stdout
    )
    given["gpu_mem_gb"] = "79.5"
    plain = rows(invoke("predict", "--runs", write_runs(tmp_path / "b.csv", given)).stdout)
    assert [own[0][name] for name in COLUMNS] == [plain[0][name] for name in COLUMNS]


def test_a_table_without_rows_is_a_table(tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN)
    runs.write_text(runs.read_text().splitlines()[0] + "\n")
    done = invoke("predict", "--runs", runs)
    assert done.stdout.strip().split(",")[-len(COLUMNS) :] == list(COLUMNS)
    assert "no row below it" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfe\x00garbage", "not UTF-8"),
        (b"layers,hidden\n1,2\n", "lacks the columns heads"),
        (b"PK\x03\x04" + bytes(300), "lacks the columns"),
        (",".join(RUN).encode() + b"\n" + b"1," * 14 + b"1\n", "line 2 has 15 cells"),
        (",".join(RUN).encode() + b'\n1,"2\n', "line 2"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, words: str, tmp_path: Path):
    runs = tmp_path / "runs.csv"
    runs.write_bytes(content)
    assert words in str(refused("predict", "--runs", runs, "--out", tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


CELLS = st.one_of(
    st.text(max_size=12),
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(
        ["", "0", "1", "8", "64", "4096", "1e9", "1e-3", "none", "fp8", "FSDP", "full"]
    ),
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from([*NEEDED, *DEFAULTS, "notes"]), CELLS), min_size=1, max_size=4
)


@settings(max_examples=100, deadline=None)
@given(odd=ROWS, parter=st.sampled_from(",;\t"))
def test_no_cell_crashes_a_prediction(odd, parter, tmp_path_factory: pytest.TempPathFactory):
    """Every column may hold anything: a row is predicted with finite numbers, or is left blank."""
    runs = tmp_path_factory.mktemp("odd") / "runs.csv"
    names = list(dict.fromkeys([*RUN, *(name for row in odd for name in row)]))
    with runs.open("w", newline="", encoding="utf-8", errors="replace") as stream:
        writer = csv.DictWriter(stream, names, delimiter=parter)
        writer.writeheader()
        writer.writerows([RUN | dict.fromkeys(set(names) - set(RUN), "") | row for row in odd])
    written = rows(invoke("predict", "--runs", runs).stdout)
    assert len(written) == len(odd)
    for row in written:
        numbers = [row[name] for name in COLUMNS if name != "predicted_fits"]
        assert not any(numbers) or all(0 <= float(one) < float("inf") for one in numbers)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300))
def test_no_file_crashes_a_prediction(content, tmp_path_factory: pytest.TempPathFactory):
    runs = tmp_path_factory.mktemp("odd") / "runs.csv"
    runs.write_bytes(content)
    refused("predict", "--runs", runs)


# Files


def test_files_that_cannot_be_read_or_written_are_refused(tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", RUN)
    assert "No such file" in refused("predict", "--runs", tmp_path / "none.csv").message
    assert "directory" in refused("predict", "--runs", tmp_path).message
    assert "is a folder" in refused("predict", "--runs", runs, "--out", tmp_path).message
    deep = tmp_path / "none" / "out.csv"
    assert "is no folder" in refused("predict", "--runs", runs, "--out", deep).message
    assert "plain file" in refused("predict", "--runs", runs, "--out", "/dev/null").message


AS_NOBODY = """
import os, sys
import mynah.cli.bars, mynah.cli.plan_files, mynah.cli.plan_predicted, mynah.plan
from mynah.cli import main
os.setuid(65534)  # what is imported by now is not looked for again
main()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_folder_of_somebody_else_is_refused_before_the_work(tmp_path: Path):
    write_runs(tmp_path / "runs.csv", RUN)
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", AS_NOBODY, "plan", "predict", "--runs", "runs.csv"]
    done = subprocess.run(
        [*command, "--out", "out.csv"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in refusal(done.stderr)[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[[accelerator]]\nname = 'x'\n", "peak_tflops"),
        (ACCELERATOR.replace("memory_gb = 64", "memory_gb = -64"), "memory_gb"),
        (ACCELERATOR.replace("bfloat16 = 400", "bfloat32 = 400"), "precisions are"),
        (ACCELERATOR + "speed = 3\n", "speed"),
        ("name = ", "TOML"),
    ],
)
def test_broken_hardware_is_refused_with_its_field(content: str, words: str, tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text(content)
    runs = write_runs(tmp_path / "runs.csv", RUN)
    assert words in str(refused("predict", "--runs", runs, "--hardware", own))


# validate


SOURCES = ("nemo_h100_fp8", "torchtitan", "bloom_a100")


def published(folder: Path, *names: str) -> Path:
    """Some of the public runs, in a folder of their own."""
    data = Path(__file__).parents[4] / "shared" / "data" / "runs"
    if not data.is_dir():
        pytest.skip("needs ../shared/data/runs, the published training runs")
    folder.mkdir()
    for name in names:
        shutil.copy(data / f"{name}.csv", folder)
    return folder


def test_errors_are_printed_and_written_as_a_page_with_drawings(tmp_path: Path):
    runs = published(tmp_path / "runs", *SOURCES)
    done = invoke("validate", "--runs", runs, "--out", tmp_path / "page.md")
    lines = done.stdout.splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines[1 : lines.index("")]}
    assert {*SOURCES, "dense", "all"} <= set(table)
    assert int(table["all"][0]) == sum(int(table[name][0]) for name in SOURCES)
    page = (tmp_path / "page.md").read_text()
    drawings = re.findall(r"\]\((\S+\.svg)\)", page)
    assert len(drawings) == 2
    for name in drawings:
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")


def test_errors_of_sources_without_failures_are_printed(tmp_path: Path):
    runs = published(tmp_path / "runs", *SOURCES[:2])
    invoke("validate", "--runs", runs, "--out", tmp_path / "page.md")
    assert "precision" in (tmp_path / "page.md").read_text()


def test_what_cannot_be_validated_is_refused(tmp_path: Path):
    assert "no CSV files" in refused("validate", "--runs", tmp_path / "none").message
    folder = tmp_path / "unmeasured"
    folder.mkdir()
    write_runs(folder / "runs.csv", RUN)
    assert "measured speed" in refused("validate", "--runs", folder).message
    alone = published(tmp_path / "alone", SOURCES[0])
    assert "source" in refused("validate", "--runs", alone).message


# Pipes


def test_a_pipe_that_closes_early_is_no_error(tmp_path: Path):
    runs = write_runs(tmp_path / "runs.csv", *[RUN] * 5_000)
    command = (
        f"'{MYNAH}' plan predict --runs '{runs}' 2>/dev/null | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("layers,")
