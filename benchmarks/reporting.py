"""What every result file says: machine, versions, commit, command, then the figures."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "torch",
    "xllamacpp",
    "tantivy",
    "polars",
    "tokenizers",
    "gguf",
    "nicegui",
    "numba",
    "pyarrow",
)


def machine() -> str:
    """Cores, memory, processor flags that matter, load."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    flags = Path("/proc/cpuinfo").read_text()
    has = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{cores} cores ({', '.join(has)}), {memory_gib:.0f} GiB; load averages {load}"


def commit() -> str:
    """Commit that was measured, and whether files differ from it."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    status = ["git", "status", "--porcelain", "--", "src"]
    dirty = subprocess.run(status, capture_output=True, text=True, check=True).stdout.strip()
    return head + (" with changes" if dirty else "")


def write(name: str, title: str, lines: list[str]) -> Path:
    """Write ``results/<name>_<cores>core_<date>.md`` and print it."""
    cores = len(os.sched_getaffinity(0))
    today = datetime.now(UTC).date().isoformat()
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    head = [
        f"# {title}",
        "",
        f"- date: {today}; commit: {commit()}",
        f"- command: `python {' '.join(Path(a).name if a[:1] == '/' else a for a in sys.argv)}`",
        f"- machine: {machine()}",
        f"- Python {platform.python_version()}, {versions}",
        "",
    ]
    path = RESULTS / f"{name}_{cores}core_{today}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*head, *lines]) + "\n"
    path.write_text(text)
    print(text)
    return path
