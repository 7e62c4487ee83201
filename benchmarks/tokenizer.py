"""Encoders, trainers and shard reads, side by side on real posts.

    python benchmarks/tokenizer.py [--repeats 3] [--reddit 30000]

Reads ../shared/data (AfriSenti, UMSAB, Reddit) and the base model; writes a result file. Encoding
is measured in CPU seconds of the whole process, the encoders in turn, medians.
"""

import argparse
import csv
import gzip
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl
import pyarrow as pa
import rustbpe
from kitoken import Kitoken
from reporting import write
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mynah.corpus.clean import clean_text
from mynah.corpus.fast_encoder import find_fast_encoder, load_reference
from mynah.corpus.fertility import fertility
from mynah.corpus.hard_texts import hard_texts
from mynah.corpus.shards import ShardWriter, TokenShard
from mynah.corpus.tokenizer import GPT2_SPLIT, SPECIAL_TOKENS, learn_tokenizer
from mynah.corpus.tokens import DocumentEncoder
from mynah.model import fetch_base, read_gguf

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
GPT4_SPLIT = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""As llama.cpp knows it under the name "llama-bpe"."""
Lists = list[list[int]]

VOCABS = (8_192, 32_768)
NUM_SHARD_TOKENS = 100_000_000
READ_TOKENS = 2_048


def tweets() -> pl.DataFrame:
    """Text and language of the two multilingual sets."""
    rows = []
    for name in ("afrisenti_14lang", "xlmt_sentiment_8lang"):
        with gzip.open(DATA / "language-id" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
            rows += [{"set": name, **json.loads(line)} for line in stream]
    return pl.DataFrame(
        {key: [row[key] for row in rows] for key in ("set", "lang", "text")}
    ).sample(fraction=1.0, shuffle=True, seed=0)


def reddit(limit: int) -> list[str]:
    """Titles and bodies, from every part of the set alike."""
    csv.field_size_limit(sys.maxsize)
    texts: list[str] = []
    parts = sorted((DATA / "posts-reddit").glob("*.csv.zst"))
    for path in parts:
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as raw:
            rows = csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
            for _, row in zip(range(limit // len(parts)), rows, strict=False):
                texts.append(f"{row['title']}\n\n{row['selftext']}".strip())
    return texts


def cpu(call: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def encoding(name: str, path: Path, texts: list[str], repeats: int) -> list[str]:
    """Hugging Face, kitoken as it comes and the document encoder on the same texts."""
    reference = load_reference(path.read_text())
    kitoken = Kitoken.from_tokenizers_file(str(path))
    encoder = DocumentEncoder(path)
    column = pa.array(texts)
    hard = hard_texts(SPECIAL_TOKENS)
    calls: dict[str, tuple[Callable[[list[str]], Lists], Callable[[], object]]] = {
        f"tokenizers {version('tokenizers')}": (
            lambda some: by_reference(reference, some),
            lambda: reference.encode_batch(texts, add_special_tokens=False),
        ),
        f"{encoder.encoder}, as it comes": (
            lambda some: kitoken.encode_all(some, False),
            lambda: kitoken.encode_all(texts, False),
        ),
        f"mynah ({encoder.encoder})": (
            lambda some: listed(encoder.encode_batch(some)),
            lambda: encoder.encode_batch(column),
        ),
    }
    return table_of(name, calls, reference, (texts, hard), repeats)


def table_of(
    name: str,
    calls: dict[str, tuple[Callable[[list[str]], Lists], Callable[[], object]]],
    reference: Tokenizer,
    texts: tuple[list[str], list[str]],
    repeats: int,
) -> list[str]:
    """Rows of the table: speed on the posts, equal tokens on the posts and on hard texts."""
    expected = [by_reference(reference, part) for part in texts]
    num_tokens = sum(map(len, expected[0]))
    seconds: dict[str, list[float]] = {key: [] for key in calls}
    for _ in range(repeats):
        for key, (_, timed) in calls.items():
            seconds[key].append(cpu(timed))
    lines = []
    for key, (call, _) in calls.items():
        equal = [
            f"{sum(map(list.__eq__, call(part), wanted)):,} of {len(part):,}"
            for part, wanted in zip(texts, expected, strict=True)
        ]
        rate = num_tokens / statistics.median(seconds[key])
        lines.append(f"| {name} | {key} | {rate / 1e6:.2f} M | {' | '.join(equal)} |")
    return lines


def by_reference(reference: Tokenizer, texts: list[str]) -> Lists:
    """Tokens as Hugging Face makes them."""
    return [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]


def listed(batch: tuple[np.ndarray, np.ndarray]) -> Lists:
    """Tokens of each text of a batch."""
    tokens, offsets = batch[0].tolist(), batch[1].tolist()
    return [tokens[offsets[n] : offsets[n + 1]] for n in range(len(offsets) - 1)]


def rustbpe_encoding(
    name: str, texts: list[str], learned: list[str], path: Path, repeats: int
) -> list[str]:
    """Train rustbpe as ``learn_tokenizer`` does and encode with rustbpe itself."""
    trained = rustbpe.Tokenizer()
    trained.train_from_iterator(iter(learned), VOCABS[1] - len(SPECIAL_TOKENS), pattern=GPT2_SPLIT)

    def encode(some: list[str]) -> Lists:
        return [
            [token + len(SPECIAL_TOKENS) for token in one] for one in trained.batch_encode(some)
        ]

    calls = {f"rustbpe {version('rustbpe')}": (encode, lambda: trained.batch_encode(texts))}
    hard = hard_texts(SPECIAL_TOKENS)
    return table_of(name, calls, load_reference(path.read_text()), (texts, hard), repeats)


def by_hf(texts: Sequence[str], split: str, vocab_size: int, path: Path) -> None:
    """Train with Hugging Face's trainer."""
    tokenizer = Tokenizer(models.BPE())
    is_gpt2 = split == GPT2_SPLIT
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=is_gpt2)
    splits = [] if is_gpt2 else [pre_tokenizers.Split(Regex(split), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))


def training(
    texts: Sequence[str], heldout: dict[str, list[str]], folder: Path
) -> tuple[list[str], dict[int, Path]]:
    """Seconds to train and bytes per token on posts that were not trained on."""
    lines = [
        f"| vocabulary | split | trainer | CPU s | {' | '.join(heldout)} |",
        f"|{'---|' * (4 + len(heldout))}",
    ]
    ours: dict[int, Path] = {}
    for size in VOCABS:
        ours[size] = folder / f"ours_{size}.json"
        runs: list[tuple[str, str, Path, Callable[[Path], object]]] = [
            (
                "GPT-2",
                "rustbpe",
                ours[size],
                lambda p, n=size: learn_tokenizer(texts, p, vocab_size=n),
            ),
            ("GPT-2", "HF", folder / "a.json", lambda p, n=size: by_hf(texts, GPT2_SPLIT, n, p)),
            ("GPT-4", "HF", folder / "b.json", lambda p, n=size: by_hf(texts, GPT4_SPLIT, n, p)),
        ]
        for split, trainer, path, train in runs:
            seconds = cpu(lambda train=train, path=path: train(path))
            encoder = DocumentEncoder(path)
            rates = []
            for part in heldout.values():
                tokens, _ = encoder.encode_batch(part)
                rates.append(f"{sum(len(text.encode()) for text in part) / len(tokens):.3f}")
            lines.append(
                f"| {size:,} | {split} | {trainer} | {seconds:.1f} | {' | '.join(rates)} |"
            )
    return lines, ours


def shard_reads(folder: Path, repeats: int) -> str:
    """Random reads of 2,048 tokens, each copied out, from a shard in the page cache."""
    rng = np.random.default_rng(0)
    per_batch = 10_000_000
    with ShardWriter(folder / "train", vocab_size=49_152) as writer:
        for _ in range(NUM_SHARD_TOKENS // per_batch):
            lengths = np.full(per_batch // 50, 50)
            writer.append(
                rng.integers(0, 49_152, per_batch, dtype=np.uint32),
                lengths,
                post_ids=pa.array([[]] * len(lengths), pa.list_(pa.string())),
                post_tokens=pa.array([[]] * len(lengths), pa.list_(pa.int32())),
            )
    shard = TokenShard(folder / "train")
    shard.read(0, shard.num_tokens).sum()
    positions = rng.integers(0, shard.num_tokens - READ_TOKENS, 50_000).tolist()
    out = np.empty(READ_TOKENS, shard.dtype)

    def read_all() -> None:
        for position in positions:
            np.copyto(out, shard.read(position, READ_TOKENS))

    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        read_all()
        seconds.append(time.perf_counter() - start)
    rate = len(positions) * READ_TOKENS / statistics.median(seconds)
    return (
        f"{len(positions):,} random reads of {READ_TOKENS:,} tokens, each copied out, from "
        f"{NUM_SHARD_TOKENS:,} tokens in the page cache: **{rate / 1e6:,.0f} M tokens/s** "
        f"(median of {repeats}, one thread, wall time)."
    )


def fertility_table(base: Path, ours: Path, posts: pl.DataFrame) -> list[str]:
    """Tokens per word and bytes per token, by language."""
    cleaned = posts.with_columns(pl.Series("text", [clean_text(text) for text in posts["text"]]))
    first, second = (fertility(DocumentEncoder(path), cleaned) for path in (base, ours))
    joined = first.join(second, on="lang", suffix="_ours", maintain_order="left")
    lines = [
        f"| language | posts | SmolLM2: tokens per word | bytes per token | {VOCABS[1]:,} trained "
        "here: tokens per word | bytes per token |",
        "|---|---|---|---|---|---|",
    ]
    for row in joined.iter_rows(named=True):
        lines.append(
            f"| {row['lang']} | {row['num_posts']:,} | {row['tokens_per_word']:.2f} | "
            f"{row['bytes_per_token']:.2f} | {row['tokens_per_word_ours']:.2f} | "
            f"{row['bytes_per_token_ours']:.2f} |"
        )
    return lines


def main() -> None:  # long: one measurement after the other
    """Measure everything and write the result file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reddit", type=int, default=30_000)
    arguments = parser.parse_args()
    multilingual, english = tweets(), reddit(arguments.reddit)
    texts = [clean_text(text) for text in [*multilingual["text"], *english]]
    of_set = {
        name: [clean_text(text) for text in part["text"]]
        for (name,), part in multilingual.partition_by("set", as_dict=True).items()
    }
    of_set["reddit"] = texts[len(multilingual) :]
    heldout = {name: part[::10] for name, part in of_set.items()}
    learned = [text for part in of_set.values() for n, text in enumerate(part) if n % 10]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read_gguf(fetch_base(), folder / "base")
        base = folder / "base" / "tokenizer.json"
        trained, ours = training(learned, heldout, folder)
        here = f"trained here, {VOCABS[1]:,}"
        find_fast_encoder.cache_clear()
        load_s = cpu(lambda: DocumentEncoder(base))
        rows = [
            *encoding("SmolLM2", base, texts, arguments.repeats),
            *encoding(here, ours[VOCABS[1]], texts, arguments.repeats),
            *rustbpe_encoding(here, texts, learned, ours[VOCABS[1]], arguments.repeats),
        ]
        lines = [
            f"{len(texts):,} posts, cleaned, in {multilingual['lang'].n_unique()} languages "
            f"(and Reddit). One thread each; medians of {arguments.repeats}, in turn.",
            "",
            "## Encoding",
            "",
            "| tokenizer | encoder | tokens per CPU second | posts equal | hard texts equal |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Equal: every token as tokenizers makes it with special tokens spelled out. mynah is "
            "`DocumentEncoder.encode_batch`, Arrow strings in, flat arrays out; what it knows to "
            "be different it gives to tokenizers. To load SmolLM2's tokenizer and compare the two "
            f"encoders on the built-in texts takes {load_s:.2f} CPU s, once in a process.",
            "",
            "## Training",
            "",
            f"On {len(learned):,} posts. Figures of the sets are bytes per token (more is better) "
            "on the tenth of each that was not trained on.",
            "",
            *trained,
            "",
            "## Fertility",
            "",
            "Nine tenths of these posts were trained on by the tokenizer trained here.",
            "",
            *fertility_table(base, ours[VOCABS[1]], multilingual),
            "",
            "## Shards",
            "",
            shard_reads(folder, arguments.repeats),
        ]
    write("tokenizer", "Encoders, trainers and shard reads", lines)


if __name__ == "__main__":
    main()
