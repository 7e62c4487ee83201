"""How the loops of signatures and duplicates become machine code. Nothing is read or written here.

Every kernel has one signature and is compiled when its module is imported, or read from numba's
cache: beside the source, else in the user's cache, or in ``NUMBA_CACHE_DIR``. Where none of them
can be written to it is compiled each time, in about four seconds altogether. Kernels let go of
the interpreter's lock, so a pool of plain threads runs them side by side; they start no threads
of their own.

A kernel calls no kernel of another file: the cache only asks whether its own file has changed.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba import types
from numba.core.typing.templates import Signature

__all__ = ["BYTES", "INT64S", "UINT32S", "UINT64S", "compiled"]

logger = logging.getLogger(__name__)
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

BYTES = types.Array(types.uint8, 1, "C", readonly=True)
INT64S = types.Array(types.int64, 1, "C", readonly=True)
UINT32S = types.Array(types.uint32, 1, "C", readonly=True)
UINT64S = types.Array(types.uint64, 1, "C", readonly=True)
"""Arrays that a kernel only reads; those that it writes to are ``types.uint64[::1]`` and so on."""


def compiled(signature: Signature) -> Callable[[Kernel], Kernel]:
    """Compile a function for arguments of these types, ``types.void(BYTES)`` say."""

    def compile_now(function: Kernel) -> Kernel:
        compiler: Any = numba.njit
        try:
            return compiler(signature, nogil=True, cache=True)(function)
        except RuntimeError as error:
            # Raised before anything is compiled, if no place for the cache can be written to.
            logger.info("compiled kernels are not cached: %s", error)
            return compiler(signature, nogil=True)(function)

    return compile_now
