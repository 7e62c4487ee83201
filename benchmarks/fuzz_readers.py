"""Fuzz every reader of posts, guided by the branches that each input reaches (atheris).

Starts from the invented exports in ``tests/fakes/every_format.py`` and, with ``--exports``, from
small files of real ones, which stay where they are. Half of the inputs are changed as bytes, half
as documents. Each is read as its format by force and as it is guessed; what comes out is held to
``tests/fakes/any_reading.py``. A process of its own per format is watched by libFuzzer: 10 s an
input, 2 GB of memory. Writes ``results/fuzz_readers_*.md``; inputs that broke something are kept
in the folder ``--kept``.
"""

import argparse
import copy
import hashlib
import importlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MAX_SEED_BYTES = 64 << 10
MAX_INPUT_BYTES = 32 << 10
TIMEOUT_S = 10
RSS_LIMIT_MB = 2_048
ODD = (
    *(None, True, 0, -1, 10**30, 1e308, "", "\0", "\ud83d", [], {}, [[]], "9" * 400),
    *("0000-00-00", "99999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1e400", "<p" * 99),
)
TOKENS = ("\\ud800", "\\u0000", "\xff\xfe", "0000-00-00T00:00:00Z", "1e400", "[" * 60, "{}", "]}")
TOLD = re.compile(r"#(\d+).*?cov: (\d+) ft: (\d+) corp: (\d+)")

Target = Callable[[bytes], None]
Json = Any


@dataclass(slots=True)
class Tally:
    """What became of the inputs of one format."""

    num_inputs: int = 0
    num_branches: int = 0
    num_features: int = 0
    num_kept: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    peak_memory_bytes: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    """What went wrong and where, and how often."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of each format")
    parser.add_argument("--format", default="", help="only this one")
    parser.add_argument("--exports", type=Path, help="folder with more exports to start from")
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir(), "fuzz_readers"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if args.child:
        fuzz_one(args.child, args)
        return
    from mynah.posts import FORMATS

    names = [args.format] if args.format else [format_.name for format_ in FORMATS]
    tallies: dict[str, Tally] = {}
    for name in names:
        tallies[name] = fuzz(name, args)
        print(f"{name}: {tallies[name]}", flush=True)
    write_result(tallies, args)


def fuzz(name: str, args: argparse.Namespace) -> Tally:
    """Fuzz one format in processes of its own until its time is up."""
    tally = Tally()
    end = time.monotonic() + args.seconds
    seed = args.seed
    while (left_s := int(end - time.monotonic())) > 0:
        started = time.monotonic()
        child = subprocess.run(
            [sys.executable, __file__, "--child", name, *_passed(args, seed, left_s)],
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        tally.seconds += time.monotonic() - started
        _add(tally, child, args.kept / name / "tally.json")
        seed += 1
    return tally


def _passed(args: argparse.Namespace, seed: int, left_s: int) -> list[str]:
    exports = ["--exports", str(args.exports)] if args.exports else []
    return [*exports, "--kept", str(args.kept), "--seed", str(seed), "--seconds", str(left_s)]


def _add(tally: Tally, child: "subprocess.CompletedProcess[bytes]", path: Path) -> None:
    said = child.stderr.decode("utf-8", "replace")
    if told := TOLD.findall(said):
        _, branches, features, kept = map(int, told[-1])
        tally.num_branches = max(tally.num_branches, branches)
        tally.num_features = max(tally.num_features, features)
        tally.num_kept = max(tally.num_kept, kept)
        tally.num_inputs += max(int(number) for number, *_ in told)
    if path.exists():
        facts = json.loads(path.read_text())
        tally.slowest_s = max(tally.slowest_s, facts["slowest_s"])
        tally.peak_memory_bytes = max(tally.peak_memory_bytes, facts["peak_memory_bytes"])
        for finding, number in facts["findings"].items():
            tally.findings[finding] = tally.findings.get(finding, 0) + number
        path.unlink()
    if child.returncode:
        stop = re.search(r"SUMMARY: (.*)", said)
        what = stop.group(1) if stop else said.strip()[-300:]
        tally.findings[what] = tally.findings.get(what, 0) + 1


def fuzz_one(name: str, args: argparse.Namespace) -> None:
    """Fuzz one format in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["mynah"], enable_loader_override=False):
        importlib.import_module("mynah.posts")
        reading = importlib.import_module("tests.fakes.any_reading")
        seeds = importlib.import_module("tests.fakes.every_format").SEEDS[name]
    kept = args.kept / name
    corpus = kept / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    contents = [seed.content for seed in seeds]
    contents += _exports(args.exports, name) if args.exports else []
    for content in contents:
        (corpus / hashlib.sha256(content).hexdigest()).write_bytes(content)
    words = kept / "words.dict"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in _words(contents)))
    options = [
        f"-max_total_time={args.seconds}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-seed={args.seed}",
        f"-dict={words}",
        f"-artifact_prefix={kept}/",
        str(corpus),
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = [reading.write_seed(Path(folder, _sub(folder, n)), s) for n, s in enumerate(seeds)]
        watch = _Watch(kept, lambda path, data: _try(reading, path, data, name), paths)
        atheris.Setup([sys.argv[0], *options], watch, custom_mutator=_mutator(atheris))
        atheris.Fuzz()


def _sub(folder: str, number: int) -> str:
    Path(folder, str(number)).mkdir()
    return str(number)


def _try(reading: Any, path: Path, data: bytes, name: str) -> None:
    for chosen in (name, ""):
        _, found = reading.read_bytes(path, data, chosen=chosen)
        reading.check_reading(found, data)


@dataclass(slots=True)
class _Watch:
    """Tries inputs; writes down what went wrong and goes on."""

    kept: Path
    attempt: Callable[[Path, bytes], None]
    paths: list[Path]
    tally: Tally = field(default_factory=Tally)
    _written_s: float = 0.0

    def __call__(self, data: bytes) -> None:
        path = self.paths[len(data) % len(self.paths)]
        started = time.monotonic()
        try:
            self.attempt(path, data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._write_down(error, data)
        now = time.monotonic()
        self.tally.slowest_s = max(self.tally.slowest_s, now - started)
        if now - self._written_s > 1:
            self._written_s = now
            self._save()

    def _write_down(self, error: Exception, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((f for f in reversed(frames) if "/mynah/" in f.filename), frames[-1])
        said = "" if isinstance(error, UnicodeError) else f": {str(error)[:80]}"
        kind = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}{said}"
        self.tally.findings[kind] = self.tally.findings.get(kind, 0) + 1
        if self.tally.findings[kind] == 1:
            digest = hashlib.sha256(kind.encode()).hexdigest()[:12]
            (self.kept / f"finding-{digest}").write_bytes(data)
            (self.kept / f"finding-{digest}.txt").write_text(
                "".join(traceback.format_exception(error)), errors="replace"
            )
            self._save()

    def _save(self) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        facts = {
            "slowest_s": self.tally.slowest_s,
            "peak_memory_bytes": peak,
            "findings": self.tally.findings,
        }
        (self.kept / "tally.json").write_text(json.dumps(facts))


def _exports(folder: Path, name: str) -> list[bytes]:
    """Return the small files of a format under a folder."""
    from mynah.errors import DataError
    from mynah.posts.reader import ReadOptions
    from mynah.posts.sources import opened_sources

    found: list[bytes] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.stat().st_size > MAX_SEED_BYTES:
            continue
        try:
            with opened_sources([path], options=ReadOptions()) as sources:
                is_one = any(source.format.name == name for source in sources)
        except DataError:
            continue
        found += [path.read_bytes()] if is_one else []
    return found


def _words(contents: list[bytes]) -> list[bytes]:
    """Return the keys of the seeds and other tokens that mean something."""
    keys = {key for content in contents for key in re.findall(rb'"[\w#$@.:-]{1,40}"', content)}
    return [*sorted(keys)[:200], *(token.encode("latin-1") for token in TOKENS)]


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _mutator(atheris: Any) -> Callable[[bytes, int, int], bytes]:
    """Change bytes, or a place of the JSON in them."""

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5 and (changed := _changed_json(data, rng)):
            return changed[:max_size]
        return atheris.Mutate(data, max_size)  # another function once fuzzing has begun

    return change


def _changed_json(data: bytes, rng: random.Random) -> bytes:
    """Change a document or a list of lines; empty when the bytes are neither."""
    lead, text = _after_lead(data.decode("utf-8", "replace"))
    lines = text.splitlines(keepends=True)
    try:
        documents, is_lines = [json.loads(text)], False
    except (ValueError, RecursionError):
        try:
            documents, is_lines = [json.loads(line) for line in lines if line.strip()], True
        except (ValueError, RecursionError):
            return b""
    if not documents or not isinstance(documents[0], dict | list):
        return b""
    indent = None if is_lines else rng.choice([None, 1])
    try:
        for _ in range(rng.randint(1, 3)):
            _change(documents, rng)
        return (lead + "\n".join(json.dumps(d, indent=indent) for d in documents)).encode()
    except RecursionError:  # deep, which readers take better than we do
        return b""


def _after_lead(text: str) -> tuple[str, str]:
    """Split off the script that an X archive begins with."""
    match = re.match(r"window[.\w]* = ", text)
    return (match.group(), text[match.end() :]) if match else ("", text)


def _change(documents: list[Json], rng: random.Random) -> None:
    holders = [h for h in _holders(documents) if h]
    if not holders:
        return
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match rng.randrange(4):
        case 0:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        case 1:
            other = rng.choice(holders)
            values = list(other.values()) if isinstance(other, dict) else other
            holder[key] = copy.deepcopy(rng.choice(values))
        case 2 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case _:
            del holder[key]


def _holders(value: Json) -> Iterator[Json]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            yield value
            waiting.extend(value.values() if isinstance(value, dict) else value)


def write_result(tallies: dict[str, Tally], args: argparse.Namespace) -> None:
    import reporting

    lines = [
        f"atheris {version('atheris')}, pyarrow {version('pyarrow')}; seed {args.seed}; "
        f"{args.seconds} s a format, one process at a time beside other work.",
        "",
        "Every input is read twice, as its format by force and as it is guessed. Branches and "
        "features are libFuzzer's counts over `mynah.posts`; kept are inputs that reached new "
        f"ones. Limits: {TIMEOUT_S} s an input, {RSS_LIMIT_MB} MiB of memory.",
        "",
        "| format | inputs | branches | features | kept | slowest input | peak memory | findings |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, tally in tallies.items():
        lines.append(
            f"| {name} | {tally.num_inputs:,} | {tally.num_branches:,} | {tally.num_features:,} "
            f"| {tally.num_kept:,} | {tally.slowest_s:.2f} s "
            f"| {tally.peak_memory_bytes / 2**20:.0f} MiB | {len(tally.findings)} |"
        )
    lines += ["", "## Findings", ""]
    found = [f"- {name}: {what} ({n:,}x)" for name, t in tallies.items() for what, n in
             t.findings.items()]  # fmt: skip
    reporting.write("fuzz_readers", "Fuzzing every reader", [*lines, *(found or ["None."])])


if __name__ == "__main__":
    main()
