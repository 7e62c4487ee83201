"""What a run has used so far, work that a kill undid included: it stays spent.

Reads and writes ``spent.json`` of a run's folder, and reads ``metrics.jsonl``.
"""

import json
from dataclasses import asdict
from pathlib import Path

from mynah.record.runs import Spent
from mynah.workspace import replace_file

__all__ = ["keep_spent", "spent_before"]


def spent_before(run: Path) -> Spent:
    """What ``spent.json`` and the steps in ``metrics.jsonl`` show: the most that any of them says.

    Each line holds cumulative numbers, so reading the same lines twice, as after a kill in the
    middle of a resume, adds nothing. A step whose line was not written before a kill is missing:
    the count may be too low by one step a kill, never too high.
    """
    spent = Spent()
    path = run / "spent.json"
    if path.is_file():
        try:
            spent = Spent(**json.loads(path.read_bytes()))
        except (ValueError, TypeError):  # damaged; the lines and the record still say it
            spent = Spent()
    path = run / "metrics.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            read = Spent(flop=row["flop"], device_s=row["device_s"], tokens=row["spent_tokens"])
        except (ValueError, KeyError, TypeError):  # cut in half, or of an evaluation alone
            continue
        spent = spent.at_least(read)
    return spent


def keep_spent(run: Path, spent: Spent) -> None:
    """Write ``spent.json`` in one step: before lines of undone steps are dropped."""
    replace_file(run / "spent.json", json.dumps(asdict(spent)).encode())
