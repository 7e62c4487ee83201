"""An artifact of preference pairs, made of arbitrary words."""

from pathlib import Path

import numpy as np

from mynah.corpus import PREFERENCES_KIND, write_shard
from mynah.corpus.shards import pair_starts_path
from mynah.workspace import Artifact, writing_artifact

END = 3
VOCAB = 64


def make_preferences(folder: Path, *, num_train: int = 12, prompt: int = 6) -> Artifact:
    """Pairs of arbitrary words: pair n has replies of 3 + n and 5 tokens."""
    inputs = {"num_train": num_train, "prompt": prompt}
    generator = np.random.default_rng(0)
    with writing_artifact(folder, kind=PREFERENCES_KIND, inputs=inputs) as writer:
        for part, count in (("train", num_train), ("heldout", 6)):
            sizes = [(prompt, 3 + n, 5) for n in range(count)]
            documents = [
                generator.integers(4, VOCAB, 2 * p + chosen + other).tolist()
                for p, chosen, other in sizes
            ]
            ids = [[f"{part}:{n}:{role}" for role in "qab"] for n in range(count)]
            write_shard(writer.folder / part, documents, post_ids=ids, vocab_size=VOCAB)
            starts = [(p, p + chosen, 2 * p + chosen) for p, chosen, _ in sizes]
            np.save(pair_starts_path(writer.folder / part), np.array(starts, dtype=np.int64))
        writer.counts.update(end_of_text=END)
    return writer.artifact
