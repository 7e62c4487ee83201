"""torchft as the trainer sets it up: its manager in each rank, its lighthouse in the launcher.

Reads ``TORCHFT_LIGHTHOUSE``, ``REPLICA_GROUP_ID`` and ``MASTER_ADDR`` of the environment; writes
nothing. Needs the extra ``mynah[ft]``. torchft's ports are open to whoever reaches the machine,
as are those of gloo and NCCL: the network between replica groups is to be a closed one.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from mynah.errors import ConfigError, MachineError
from mynah.train.world import World

__all__ = ["group_number", "lighthouse", "make_manager"]

TIMEOUT = timedelta(minutes=2)
"""A group that hangs without dying holds the others up for so long; one whose process dies, for
as long as the lighthouse listens for a heartbeat. Weights for a returning group must fit."""
QUORUM_TIMEOUT = timedelta(minutes=30)
"""The group that speaks may evaluate or save while the others wait for the next step."""
HEARTBEAT_TIMEOUT_MS = 1500
"""Without a heartbeat (sent every 100 ms from a thread of its own) a group counts as dead."""
JOIN_TIMEOUT_MS = 1000
"""A quorum waits no longer for a group that lives and has not asked to join."""
QUORUM_TICK_MS = 50
LOCAL_HOST = "127.0.0.1"


def group_number() -> int:
    """Which replica group this process belongs to, from 0; 0 where there are none.

    Raises:
        ConfigError: ``REPLICA_GROUP_ID`` is not a number.
    """
    said = os.environ.get("REPLICA_GROUP_ID", "0")
    if not said.isdecimal():
        raise ConfigError(
            f"REPLICA_GROUP_ID is {said!r}, not the number of a replica group",
            hint="give the groups the numbers 0, 1, 2 ...",
        )
    return int(said)


def make_manager(
    world: World, *, state_dict: Callable[[], Any], load_state_dict: Callable[[Any], None]
) -> tuple[Any, TCPStore | None]:
    """Join the lighthouse that the environment names.

    Args:
        world: This replica group's own.
        state_dict: What a group that comes back is given: tensors and numbers in plain dicts.
        load_state_dict: Takes it over.

    Returns:
        torchft's manager, and the store that must live as long as it does (on rank 0).

    Raises:
        ConfigError: The extra is not installed, or the lighthouse is not named.
        MachineError: The lighthouse does not answer.
    """
    torchft = _torchft()
    address = os.environ.get("TORCHFT_LIGHTHOUSE", "")
    lighthouse_host = urlsplit(address).hostname
    if not lighthouse_host:
        raise ConfigError(
            f"TORCHFT_LIGHTHOUSE is {address!r}, not the address of torchft's lighthouse",
            hint="start torchft_lighthouse and set TORCHFT_LIGHTHOUSE=http://HOST:29510",
        )
    is_local = lighthouse_host in (LOCAL_HOST, "localhost", "::1")
    host = LOCAL_HOST if is_local else socket.gethostname()
    # Not torchrun's store: it outlives a restart, and with it the address of a dead manager.
    store = TCPStore(host, 0, is_master=True, wait_for_workers=False) if world.is_main else None
    port = int(world.broadcast([float(store.port if store else 0)])[0])
    is_host = world.device.type == "cpu"
    group = (torchft.ProcessGroupGloo if is_host else torchft.ProcessGroupNCCL)(timeout=TIMEOUT)
    try:
        manager = torchft.Manager(
            pg=group,
            load_state_dict=load_state_dict,
            state_dict=state_dict,
            min_replica_size=1,
            # What a group reads depends on how many there are: the quorum stands before the
            # forward pass, and who comes back has its weights before it, too.
            use_async_quorum=False,
            timeout=TIMEOUT,
            quorum_timeout=QUORUM_TIMEOUT,
            rank=world.rank,
            world_size=world.size,
            store_addr=host if is_local else os.environ.get("MASTER_ADDR", host),
            store_port=port,
            lighthouse_addr=address,
            replica_id=f"group-{group_number():05}",
            hostname=host,
            checkpoint_transport=_transport(host),
            # Fresh weights are the same in every group, and so are those of a checkpoint.
            init_sync=False,
        )
    except (RuntimeError, TimeoutError) as error:
        raise MachineError(
            f"torchft's lighthouse at {address} does not answer: {error}".splitlines()[0],
            hint="start torchft_lighthouse there, or correct TORCHFT_LIGHTHOUSE",
        ) from error
    return manager, store


def _torchft() -> Any:
    # It tells of every quorum and every step, from Rust and from Python.
    os.environ.setdefault("RUST_LOG", "warn")
    for name in ("torchft", "torchft_quorums", "torchft_commits"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        import torchft
    except ModuleNotFoundError as error:
        raise ConfigError(
            "replica groups that live apart need torchft, which is not installed",
            hint="install it: pip install 'mynah[ft]'",
        ) from error
    return torchft


def _transport(host: str) -> Any:
    """How weights get to a group that comes back: torchft's HTTP, and nothing but tensors."""
    # What torchft itself reads with; it has no public name.
    from torch.distributed._serialization import (
        _streaming_load,  # pyright: ignore[reportPrivateUsage]
    )
    from torchft.checkpointing import HTTPTransport

    class TensorTransport(HTTPTransport[Any]):
        """Its maker's unpickles whatever a peer sends, and names a host that may not resolve."""

        @classmethod
        def _load_from_address(cls, address: str, timeout: timedelta) -> object:
            with urlopen(address, timeout=timeout.total_seconds()) as stream:
                return _streaming_load(stream, weights_only=True)

        def address(self) -> str:
            return f"http://{host}:{self._server.socket.getsockname()[1]}/checkpoint/"

    return TensorTransport(timeout=TIMEOUT, num_chunks=0)


@contextmanager
def lighthouse() -> Generator[str]:
    """Run torchft's lighthouse for groups that are all on this machine; give its address.

    Raises:
        ConfigError: The extra is not installed.
    """
    _torchft()
    from torchft.coordination import LighthouseServer

    server = LighthouseServer(
        bind=f"{LOCAL_HOST}:0",
        min_replicas=1,
        join_timeout_ms=JOIN_TIMEOUT_MS,
        quorum_tick_ms=QUORUM_TICK_MS,
        heartbeat_timeout_ms=HEARTBEAT_TIMEOUT_MS,
    )
    try:
        # It gives the machine's name, which need not resolve.
        yield f"http://{LOCAL_HOST}:{urlsplit(server.address()).port}"
    finally:
        server.shutdown()
