"""The embedded engine: llama.cpp inside this process, several requests at once.

Reads one GGUF; writes nothing. llama.cpp's own HTTP server cannot be turned off, so it is bound
to a socket file in a private folder, behind a random key, and never to a port.
"""

import os
import re
import secrets
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import psutil
from tokenizers import Tokenizer

from mynah.errors import CheckpointError, MachineError, RequestError
from mynah.model.gguf_reading import open_gguf
from mynah.serve.engine import Delta, FinishReason, Message, Sampling
from mynah.workspace import canonical_json

__all__ = ["LlamaCppConfig", "LlamaCppEngine", "num_physical_cores"]

Json = Any
"""A value that JSON can hold."""

llama: Any = import_module("xllamacpp")  # a compiled module without types

MAX_THREADS = 16
"""Decoding is bound by memory; more threads than this only wait for each other."""
POLL = 1
"""How long a thread spins for work, 0..100. llama.cpp's 50 starves when cores are shared: on 2
cores with 2 busy neighbours it decoded 4 tokens/s, with 1 it decoded 16, and on idle cores both
gave 85 (SmolLM2-135M Q8_0, 2 threads; 1 thread beside 2 neighbours gave 32)."""
MIN_P = 0.05
"""Tokens below this share of the likeliest one are never drawn: a small model's tail is noise."""


def num_physical_cores() -> int:
    """Cores that this process may use, hyper-threads not counted, at most ``MAX_THREADS``."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed, MAX_THREADS))


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppConfig:
    """How much of the machine an engine takes."""

    num_threads: int = field(default_factory=num_physical_cores)
    """Threads of prefill and decode. Beside a trainer that uses all cores, 1 is the fastest."""
    max_context_tokens: int = 2048
    """Prompt and answer together, per request; never more than the model was made for."""
    num_slots: int = 4
    """Requests that are worked on at once; more wait their turn."""


class LlamaCppEngine:
    """A GGUF, loaded. Implements ``Engine``."""

    def __init__(self, gguf: Path, *, config: LlamaCppConfig, model: str) -> None:
        """Load ``gguf`` and serve it as ``model``.

        Raises:
            CheckpointError: The file is missing, not whole, or llama.cpp refuses it.
            ConfigError: It holds no Llama-family model.
        """
        source = open_gguf(gguf)  # llama.cpp says only that it failed, not why
        self._model = model
        self._max_context_tokens = min(
            config.max_context_tokens, source.config.max_position_embeddings
        )
        control = sorted(source.tokenizer.control_tokens, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, control)) or r"(?!)")
        tokenizer = source.tokenizer.to_hf(bos_token_id=None)
        self._tokenizer = Tokenizer.from_str(canonical_json(tokenizer).decode())
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._private = tempfile.TemporaryDirectory(prefix="mynah-")
        params = _server_params(
            gguf, config, self._max_context_tokens, socket=Path(self._private.name) / "llama.sock"
        )
        try:
            self._server: Any = llama.Server(params)
            # Pages the weights in, proves that the template works, and waits for llama.cpp's own
            # threads: its destructor hangs for ever when it runs before they do.
            list(self.generate([Message("user", "hi")], sampling=Sampling(max_tokens=1)))
        except (RuntimeError, MachineError, RequestError) as error:
            self._private.cleanup()
            raise CheckpointError(
                f"llama.cpp cannot serve {gguf}: {error}",
                hint="delete the file and run the same command again to make it anew",
            ) from error

    @property
    def model(self) -> str:
        """Name under which the API lists it."""
        return self._model

    @property
    def max_context_tokens(self) -> int:
        """Prompt and answer together, per request."""
        return self._max_context_tokens

    @property
    def num_running(self) -> int:
        """Generations that hold or wait for a slot right now."""
        with self._lock:
            return len(self._threads)

    def generate(self, messages: Sequence[Message], *, sampling: Sampling) -> Iterator[Delta]:
        """Stream an answer; see ``Engine.generate``. Control tokens inside messages are broken up.

        A closed iterator stops the generation at its next token.
        """
        request = self._request(messages, sampling)
        chunks: SimpleQueue[dict[str, Json] | Exception | None] = SimpleQueue()
        cancelled = threading.Event()

        def receive(chunk: dict[str, Json]) -> bool:
            chunks.put(chunk)
            return cancelled.is_set()

        def work() -> None:
            try:
                assert self._server is not None, "generate after close"
                self._server.handle_chat_completions(request, receive)
            except (RuntimeError, ValueError, TypeError) as error:
                chunks.put(error)
            finally:
                with self._lock:
                    self._threads.discard(thread)
                chunks.put(None)

        thread = threading.Thread(target=work, name=f"generate {self._model}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()
        try:
            yield from _deltas(chunks)
        finally:
            cancelled.set()

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` is to this model, outside a chat template."""
        return len(self._tokenizer.encode(self._broken_up(text), add_special_tokens=False))

    def close(self) -> None:
        """Wait for what is still being cancelled, then free the model."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self._server = None  # its destructor stops the threads and frees the weights
        self._private.cleanup()

    def _broken_up(self, text: str) -> str:
        """Put a space into each control token: llama.cpp would take it for a turn's end."""
        return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def _request(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Json]:
        turns = [{"role": m.role, "content": self._broken_up(m.content)} for m in messages]
        for number, message in enumerate(messages):
            if any("\ud800" <= letter <= "\udfff" for letter in message.content):
                raise RequestError(
                    f"message {number} holds half a character (a lone surrogate)",
                    hint="send valid Unicode text",
                )
        request: dict[str, Json] = {
            "messages": turns,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
            "min_p": MIN_P,
            "repeat_penalty": sampling.repeat_penalty,
            "stop": [text for text in sampling.stop if text],
        }
        if sampling.seed is not None:
            request["seed"] = sampling.seed % 2**32
        return request


def _server_params(
    gguf: Path, config: LlamaCppConfig, max_context_tokens: int, *, socket: Path
) -> Any:
    params = llama.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = max_context_tokens * config.num_slots
    params.n_parallel = config.num_slots
    params.n_batch = 512
    params.warmup = False  # the constructor generates a token instead
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = config.num_threads
        cpu.poll = POLL
    params.cache_ram_mib = 0  # its default keeps up to 8 GiB of old prompts
    params.cache_idle_slots = False
    params.fit_params = False  # would shrink the context in silence
    params.prefill_assistant = False  # a last assistant turn is a turn, not the answer's start
    params.reasoning_format = llama.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.force_pure_content_parser = True
    params.verbosity = -1
    params.hostnames = [str(socket)]
    params.api_keys = [secrets.token_urlsafe(32)]
    params.n_threads_http = 1
    params.endpoint_slots = False
    params.ui = False
    return params


def _deltas(chunks: SimpleQueue[dict[str, Json] | Exception | None]) -> Iterator[Delta]:
    """Turn llama.cpp's chunks into text; the last delta carries reason and counts."""
    reason: FinishReason | None = None
    usage: dict[str, int] = {}
    while (chunk := chunks.get()) is not None:
        if isinstance(chunk, Exception):
            raise MachineError(
                f"the model server failed: {chunk}", hint="ask again; if it persists, restart"
            ) from chunk
        if "error" in chunk:
            raise _refusal(cast("dict[str, Json]", chunk["error"]))
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or ():
            if choice.get("finish_reason"):
                reason = "length" if choice["finish_reason"] == "length" else "stop"
            if text := choice["delta"].get("content"):
                yield Delta(text=text)
    if reason is None:
        raise MachineError("the model server stopped in the middle of an answer", hint="ask again")
    yield Delta(
        finish_reason=reason,
        num_prompt_tokens=usage.get("prompt_tokens", 0),
        num_completion_tokens=usage.get("completion_tokens", 0),
    )


def _refusal(error: dict[str, Json]) -> RequestError | MachineError:
    """Name what llama.cpp refused: the caller's fault, or ours."""
    if error.get("type") == "exceed_context_size_error":
        return RequestError(
            f"the messages are {error['n_prompt_tokens']} tokens, "
            f"this model takes {error['n_ctx']} with its answer",
            hint="shorten the messages or drop the oldest ones",
            code="context_length_exceeded",
        )
    message, code = str(error.get("message")), error.get("code")
    if isinstance(code, int) and 400 <= code < 500:
        return RequestError(f"the model server refused: {message}", hint="check the request")
    return MachineError(f"the model server failed: {message}", hint="ask again")
