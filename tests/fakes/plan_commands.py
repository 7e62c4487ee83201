"""`mynah plan` in this process, whose imports are done, and a table of runs to give to it."""

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mynah.cli import app
from mynah.errors import MynahError

RECIPE = Path(__file__).parents[2] / "recipes" / "70b_512gpu.toml"
RUN = {
    "layers": "32",
    "hidden": "4096",
    "heads": "32",
    "vocab": "128256",
    "seq_len": "8192",
    "global_batch": "128",
    "gpu": "H100-SXM-80GB",
    "n_gpus": "64",
    "micro_batch": "1",
    "sharding": "FSDP",
    "recompute": "full",
}


def invoke(*arguments: str | Path) -> Result:
    """Run a command in this process, whose imports are done; its errors are raised."""
    done = CliRunner().invoke(app, ["plan", *map(str, arguments)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done


def refused(*arguments: str | Path) -> MynahError:
    """The error that a command ends with."""
    with pytest.raises(MynahError) as caught:
        invoke(*arguments)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 2, "one error, one hint"
    return caught.value


def write_runs(path: Path, *runs: dict[str, str], parter: str = ",") -> Path:
    """Runs as a CSV file; a column for every field of any of them."""
    names = list(dict.fromkeys(name for run in runs for name in run))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names, restval="", delimiter=parter)
        writer.writeheader()
        writer.writerows(runs)
    return path


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))
