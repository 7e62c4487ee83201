"""How a pause order ends: whether its own terms are met, as a pause-lifted statement claims.

Pure. The same check stands before a leaf is written, when a log is folded, and when the file of an
order is read. ``record.verify`` checks with code of its own, the tree head's root included.
"""

from mynah.errors import PausedError
from mynah.record.notes import Note, TreeHead, cosigned_at, parse_note
from mynah.record.orders import Order, SignedOrder, read_release
from mynah.record.statements import PauseLifted, format_time, parse_time
from mynah.workspace import canonical_json

__all__ = ["check_lift"]

_HINT = "the order's own text says how it ends: mynah record pause status WORKSPACE"


def _unmet(message: str, *, hint: str = _HINT) -> PausedError:
    return PausedError(message, hint=hint)


def check_lift(signed: SignedOrder, lifted: PauseLifted, *, order_index: int, origin: str) -> None:
    """Check that the terms of ``signed`` are met as ``lifted`` says.

    Args:
        signed: The order with every signature that its log knows of.
        lifted: What is claimed; its time is that of its leaf.
        order_index: Where the order stands in the log whose tree head is the evidence; -1 where
            that does not matter.
        origin: That log; empty where that does not matter.

    Raises:
        PausedError: Says which term is not met.
    """
    if lifted.order != signed.id:
        raise _unmet(f"order {lifted.order[:12]} is lifted, not {signed.id[:12]}")
    if lifted.basis == "parties":
        if lifted.evidence:
            raise _unmet("a pause that its parties lift needs no tree head as evidence")
        _check_release(signed, canonical_json(lifted.release))
    elif lifted.release:
        raise _unmet("a pause that ends at its time needs no release")
    elif signed.order.timekeepers:
        head = parse_note(lifted.evidence.encode())
        found = TreeHead.parse(head.text)
        if origin and found.origin != origin:
            raise _unmet(f"the evidence is a tree head of {found.origin}, not of {origin}")
        if found.size <= order_index:
            raise _unmet(f"the evidence is a tree head of {found.size} leaves, before the order")
        _check_timekeepers(signed.order, head)
    elif lifted.evidence:
        raise _unmet("an order without timekeepers ends by the clock, not by a tree head")
    elif parse_time(lifted.time) < signed.order.until_us:
        raise _unmet(
            f"the order {signed.id[:12]} stands until {signed.order.until}, it is {lifted.time}",
            hint="wait, or have all its signers release it: mynah record release WORKSPACE ORDER",
        )


def _check_release(signed: SignedOrder, envelope: bytes) -> None:
    release = read_release(envelope, signed)
    missing = [key.name for key in signed.signers if key not in release.signers]
    if missing:
        raise _unmet(
            f"the release of order {signed.id[:12]} is not signed by {', '.join(missing)}",
            hint="each of them signs it: mynah record release WORKSPACE ORDER",
        )


def _check_timekeepers(order: Order, head: Note) -> None:
    found = {key.name: cosigned_at(head, key) for key in order.timekeeper_keys}
    late = [name for name, time_s in found.items() if (time_s or 0) * 1_000_000 >= order.until_us]
    if len(late) < order.quorum:
        rest = [
            f"{name} ({'nothing' if time_s is None else format_time(time_s * 1_000_000)})"
            for name, time_s in found.items()
            if name not in late
        ]
        raise _unmet(
            f"{len(late)} of {order.quorum} timekeepers say that {order.until} has come;"
            f" not yet: {', '.join(rest)}",
            hint="run it again after that time, when the timekeepers can be reached",
        )
