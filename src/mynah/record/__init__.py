"""Record: a public, append-only log of what was trained, paused, shared and taken back.

Reads statements from any room; writes signed leaves, tree heads and proofs, in C2SP formats that
public tools verify. ``record.verify`` checks such a log from scratch with code of its own.
"""

from mynah.record.identity import Identity, keys_folder

__all__ = ["Identity", "keys_folder"]
