"""Named tensors of all ranks to files, and back on any number of ranks.

Reads and writes the files of torch's distributed checkpoint (DCP): ``__<rank>_<n>.distcp`` and
``.metadata``, which says where each slice of each tensor lies; ``torch.distributed.checkpoint``
loads what is written here. Its planners, writer and reader are driven by hand: so every file is
hashed while it is written, a full disk is told as such on every rank, the plan of a save is made
once and not at every save, and to read tensors ranks need not talk to one another.
"""

import os
import pickle
import zlib
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import (
    FileSystem,
    FileSystemReader,
    FileSystemWriter,
)
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import SavePlan, WriteItem
from torch.distributed.tensor import DTensor

from mynah.train.checkpoint_exchange import Exchange
from mynah.train.checkpoint_files import FileFacts, refuse

__all__ = ["TensorWriter", "read_metadata", "read_tensors"]

R = TypeVar("R")

NUM_FILES = 2
"""Files of a rank, each written and hashed by a thread of its own: hashing is the slower part."""
METADATA = ".metadata"


class TensorWriter:
    """Writes the same named tensors again and again; plans once."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._own: SavePlan | None = None
        self._plan: SavePlan | None = None
        self._metadata: Metadata | None = None

    def write(
        self,
        tensors: Mapping[str, Tensor],
        folder: Path,
        *,
        complete: Callable[[dict[str, FileFacts]], R],
    ) -> R:
        """Write what this rank has of ``tensors``; the same call runs on every rank.

        Args:
            tensors: Plain tensors, equal on every rank that has them, or ``DTensor``.
            folder: On a file system that all ranks share.
            complete: Run on rank 0 when all files are written, with their sizes and hashes.

        Returns:
            What ``complete`` returns, on every rank.

        Raises:
            MachineError: The disk of some rank is full.
            CheckpointError: The slices of the ranks do not make up whole tensors.
        """
        is_first = self._exchange.rank == 0
        writer = _Writer(folder)
        planner = _SavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        planner.set_up_planner(dict(tensors), writer.storage_meta(), is_first)
        writer.set_up_storage_writer(is_first, rank=self._exchange.rank, use_collectives=True)
        plan = planner.finish_plan(self._planned(planner, writer, folder))

        def write() -> tuple[list[Any], dict[str, FileFacts]]:
            with _without_crc32():
                results = writer.write_data(plan, planner).wait()
            writer.files.check()
            return results, writer.files.facts

        def finish(parts: list[tuple[list[Any], dict[str, FileFacts]]]) -> R:
            assert self._metadata is not None, "rank 0 has planned"
            # By name: else the threads that write decide by which of them is first.
            ordered = [sorted(results, key=_place_in_order) for results, _ in parts]
            writer.finish(self._metadata, ordered)
            writer.files.check()
            facts = {name: one for _, files in parts for name, one in files.items()}
            return complete(facts | writer.files.facts)

        return self._exchange.agree(write, finish, folder=folder)

    def _planned(self, planner: "_SavePlanner", writer: "_Writer", folder: Path) -> SavePlan:
        def plan() -> SavePlan:
            return writer.prepare_local_plan(planner.create_local_plan())

        def combine(plans: list[SavePlan]) -> list[SavePlan]:
            plans, self._metadata = planner.create_global_plan(plans)
            return writer.prepare_global_plan(plans)

        def is_known() -> bool:
            return plan() == self._own

        if self._plan is not None and self._exchange.agree(is_known, all, folder=folder):
            return self._plan
        self._plan = self._exchange.deal(plan, combine, folder=folder)
        self._own = plan()
        return self._plan


def _place_in_order(result: Any) -> tuple[str, tuple[int, ...]]:
    return result.index.fqn, tuple(result.index.offset or ())


class _SavePlanner(DefaultSavePlanner):
    """Leaves out slices that another replica writes.

    DCP would find them out on rank 0; of 10,240 ranks, that would be told the same a thousand
    times. Which replica writes a tensor follows from its name, so that they share the work.
    """

    def create_local_plan(self) -> SavePlan:
        with torch.no_grad():
            plan = super().create_local_plan()
        own = [x for x in plan.items if _is_written_here(x, self.state_dict[x.index.fqn])]
        self.plan = replace(plan, items=own)
        return self.plan


def _is_written_here(item: WriteItem, tensor: Tensor) -> bool:
    if not isinstance(tensor, DTensor):
        return True  # who has it is not known here: rank 0 lets one of them write
    here = tensor.device_mesh.get_coordinate()
    assert here is not None, "a rank outside of the mesh plans nothing"
    replica, num_replicas = 0, 1
    for placement, place, size in zip(
        tensor.placements, here, tensor.device_mesh.shape, strict=True
    ):
        if placement.is_replicate():
            replica, num_replicas = replica * size + place, num_replicas * size
    return zlib.crc32(item.index.fqn.encode()) % num_replicas == replica


class _Writer(FileSystemWriter):
    """DCP's own, on files that hash what is written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, sync_files=False, thread_count=NUM_FILES)
        self.fs = self.files = _HashedFiles()

    def storage_meta(self) -> StorageMeta:
        """No path of this machine and no random name: the same state, the same bytes."""
        return StorageMeta()


class _HashedFiles(FileSystem):
    """Keeps size and hash of each file, and the first error of any.

    An error is kept and not raised: DCP's writing threads would lose it, and torch's zip writer
    would put another in its place.
    """

    def __init__(self) -> None:
        self.facts: dict[str, FileFacts] = {}
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the error that was met, if one was."""
        if self.error is not None:
            raise self.error

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Generator[Any]:
        """Open one for writing."""
        stream = _HashedStream(Path(path), mode)
        yield stream
        stream.finish()
        self.error = self.error or stream.error
        self.facts[Path(path).name] = FileFacts(
            bytes=stream.num_bytes, sha256=stream.hash.hexdigest()
        )

    def rename(self, path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        """Rename one that was written."""
        self.facts[Path(new_path).name] = self.facts.pop(Path(path).name)
        with suppress(FileNotFoundError):  # it could not be opened: the error is kept
            super().rename(path, new_path)


class _HashedStream:
    def __init__(self, path: Path, mode: str) -> None:
        self.hash, self.num_bytes = sha256(), 0
        self.error: OSError | None = None
        self._file: IO[bytes] | None = None
        with self._kept():
            self._file = cast("IO[bytes]", path.open(mode))

    @contextmanager
    def _kept(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error

    def write(self, data: bytes | memoryview) -> int:
        num_bytes = memoryview(data).nbytes
        self.num_bytes += num_bytes
        if self._file is not None and self.error is None:
            self.hash.update(data)
            with self._kept():
                self._file.write(data)
        return num_bytes

    def tell(self) -> int:
        return self.num_bytes

    def flush(self) -> None:
        """Nothing: ``finish`` does."""

    def close(self) -> None:
        """Nothing: ``finish`` does."""

    def finish(self) -> None:
        if self._file is None:
            return
        with self._kept():
            self._file.flush()
            os.fsync(self._file.fileno())
        with self._kept():
            self._file.close()


@contextmanager
def _without_crc32() -> Generator[None]:
    """The CRC-32 of torch's zip files takes as long as writing them; SHA-256 is taken anyway."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


_METADATA_CLASSES = {
    "torch.distributed.checkpoint.metadata": {
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
}


class _MetadataUnpickler(pickle.Unpickler):
    """Makes nothing but what describes tensors: ``.metadata`` is a pickle, which may run code."""

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or name in _METADATA_CLASSES.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it calls for {module}.{name}")


def read_metadata(checkpoint: Path, files: Collection[str]) -> Metadata:
    """Read which slice of which tensor lies in which of ``files``.

    Raises:
        CheckpointError: The file is not what DCP writes of tensors alone.
    """
    path = checkpoint / METADATA
    try:
        with path.open("rb") as stream:
            metadata = _MetadataUnpickler(stream).load()
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError, TypeError) as error:
        raise refuse(path, f"describes no tensors: {error}") from error
    if not isinstance(metadata, Metadata) or metadata.storage_data is None:
        raise refuse(path, "describes no tensors")
    foreign = {place.relative_path for place in metadata.storage_data.values()} - set(files)
    if foreign:
        raise refuse(path, f"names {min(foreign)!r}, a file that was not checked")
    return metadata


def read_tensors(checkpoint: Path, metadata: Metadata, tensors: Mapping[str, Tensor]) -> None:
    """Fill ``tensors`` in place, each rank what it has of them, whichever ranks wrote them."""
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    reader = FileSystemReader(checkpoint)
    planner.set_up_planner(dict(tensors), metadata, False)
    reader.set_up_storage_reader(metadata, False)
    with torch.no_grad():
        plan = planner.finish_plan(reader.prepare_local_plan(planner.create_local_plan()))
        reader.read_data(plan, planner).wait()
