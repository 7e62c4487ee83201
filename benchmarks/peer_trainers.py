"""Hugging Face's Trainer and a plain loop over litgpt's GPT. Runs in the peers' Python.

Both read the documents that `train_peers` has laid out, and print a line of JSON a step: seconds
since the process was asked for, CPU seconds of it, tokens that were predicted.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

LR, CLIP_NORM = 1e-3, 1.0


class Clock:
    """Says when each step ended; starts when the parent asked for this process."""

    def __init__(self, limit_s: float) -> None:
        self.began_s = float(os.environ["BEGAN_S"])
        self.limit_s = limit_s

    def told(self, num_tokens: int) -> bool:
        """Print a step; true when the time is over."""
        now_s = time.time() - self.began_s
        print(json.dumps([now_s, time.process_time(), num_tokens]), flush=True)
        return now_s >= self.limit_s


def documents_of(folder: Path, kind: str) -> list[list[int]]:
    """Token ids, the first of which is not predicted."""
    tokens = np.load(folder / f"{kind}_tokens.npy")
    sizes = np.load(folder / f"{kind}_sizes.npy")
    return [part.tolist() for part in np.split(tokens, np.cumsum(sizes)[:-1])]


def hugging_face(folder: Path, kind: str, clock: Clock, shape: dict, per_step: int) -> None:
    """`Trainer` with its own collator, bf16 and fused AdamW; nothing saved, nothing evaluated."""
    from transformers import (
        DataCollatorForLanguageModeling,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class Told(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if clock.told(counted.pop()):
                control.should_training_stop = True

    counted: list[int] = []
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|im_end|>"
    )
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)

    def counting(rows):
        counted.append(sum(len(row["input_ids"]) - 1 for row in rows))
        return collate(rows)

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape))
    arguments = TrainingArguments(
        output_dir=str(folder / "hugging_face"),
        use_cpu=True,
        bf16=True,
        optim="adamw_torch_fused",
        learning_rate=LR,
        max_grad_norm=CLIP_NORM,
        per_device_train_batch_size=per_step,
        max_steps=1_000_000,
        lr_scheduler_type="constant",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    rows = [{"input_ids": document} for document in documents_of(folder, kind)]
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=counting,
        callbacks=[Told()],
    )
    trainer.train()


def litgpt(folder: Path, kind: str, clock: Clock, shape: dict, per_step: int) -> None:
    """`GPT` as its pretraining runs it: bf16 by autocast, its chunked cross-entropy."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    torch.manual_seed(0)
    config = Config(
        name="same",
        block_size=512,
        vocab_size=shape["vocab_size"],
        padded_vocab_size=shape["vocab_size"],
        n_layer=shape["num_hidden_layers"],
        n_head=shape["num_attention_heads"],
        n_query_groups=shape["num_key_value_heads"],
        n_embd=shape["hidden_size"],
        head_size=shape["head_dim"],
        intermediate_size=shape["intermediate_size"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    for ids_BT, target_BT in padded(documents_of(folder, kind), per_step):
        with torch.autocast("cpu", torch.bfloat16):
            loss = chunked_cross_entropy(model(ids_BT), target_BT)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        if clock.told(int((target_BT >= 0).sum())):
            return


def padded(documents: list[list[int]], per_step: int) -> Iterator[tuple]:
    """Batches, padded at the right: causal attention keeps what is there out of every token."""
    while True:
        for start in range(0, len(documents) - per_step + 1, per_step):
            rows = documents[start : start + per_step]
            width = max(len(row) for row in rows) - 1
            ids_BT = torch.zeros(per_step, width, dtype=torch.long)
            target_BT = torch.full((per_step, width), -100)
            for row, ids_T, target_T in zip(rows, ids_BT, target_BT, strict=True):
                ids_T[: len(row) - 1] = torch.tensor(row[:-1])
                target_T[: len(row) - 1] = torch.tensor(row[1:])
            yield ids_BT, target_BT


def main() -> None:
    """Train until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["hugging_face", "litgpt"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=["blocks", "posts"], required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    torch.set_num_threads(2)
    shape = json.loads((options.folder / "shape.json").read_text())
    per_step = json.loads((options.folder / "per_step.json").read_text())[options.kind]
    train = {"hugging_face": hugging_face, "litgpt": litgpt}[options.way]
    train(options.folder, options.kind, Clock(options.seconds), shape, per_step)


if __name__ == "__main__":
    main()
