"""The record in plain words: a sentence a leaf, and the page that any web server can show.

Pure. Reads statements, the register and a tree head; returns text and HTML. Whatever stands in a
log was written by its owner and is escaped.
"""

from functools import singledispatch

from mynah.errors import RecordError
from mynah.record.orders import read_order
from mynah.record.statements import (
    AuditDone,
    Body,
    CheckpointSaved,
    LogFollowed,
    ModelServed,
    ModelWithdrawn,
    Paused,
    PauseLifted,
    PauseOrdered,
    PostForgotten,
    Progress,
    Resumed,
    RunDeclared,
    ShareCut,
    ShareGranted,
)
from mynah.workspace import canonical_json

__all__ = ["describe", "short_flop", "short_time"]


def short_flop(flop: str | int | None) -> str:
    """``1.6e21 FLOP``; unknown when there is no number."""
    if flop is None or flop == "":
        return "an unknown number of FLOP"
    number = int(flop)
    if number < 1000:
        return f"{number} FLOP"
    digits, _, power = f"{number:.1e}".partition("e+")
    return f"{digits.removesuffix('.0')}e{int(power)} FLOP"


def short_time(time: str) -> str:
    """To the minute: ``2026-01-31 12:00 UTC``; to the day when that is all it says."""
    day, clock = time[:10], time[11:16]
    return f"{day} UTC" if time[10:] == "T00:00:00.000000Z" else f"{day} {clock} UTC"


def _short_id(digest: str) -> str:
    return digest[:8]


def _short_bytes(num_bytes: int) -> str:
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= limit:
            return f"{num_bytes / limit:.1f} {unit}"
    return f"{num_bytes} bytes"


def _reason(text: str) -> str:
    return f" Reason: {text.rstrip('.')}." if text.strip() else ""


def _steps(step: int) -> str:
    return f"step {step:,}"


@singledispatch
def describe(body: Body) -> str:
    """One or two sentences that say what a leaf says; plain text, to be escaped in HTML."""
    raise NotImplementedError(f"no words for {body.kind}")


@describe.register
def _run_declared(body: RunDeclared) -> str:
    begin = "from scratch"
    if body.parents:
        names = ", ".join(parent.name for parent in body.parents)
        begin = f"from {names}" if len(body.parents) == 1 else f"by merging {names}"
    return (
        f"Run {body.run} is declared: it trains {body.model} {begin}, with at most"
        f" {short_flop(body.planned_flop)} on {body.num_devices:,} x {body.device}"
        f" (pool {body.pool})."
    )


@describe.register
def _progress(body: Progress) -> str:
    verb = "ends" if body.is_final else "is"
    hours = float(body.device_s) / 3600
    spent = f"{hours:,.1f} device-hours" if hours >= 1 else f"{float(body.device_s):.0f} device-s"
    kept = f" Checkpoint {_short_id(body.checkpoint)} holds it." if body.checkpoint else ""
    return (
        f"Run {body.run} {verb} at {_steps(body.step)}: {short_flop(body.flop)},"
        f" {spent}, {body.tokens:,} tokens so far.{kept}"
    )


@describe.register
def _checkpoint_saved(body: CheckpointSaved) -> str:
    return (
        f"Run {body.run} saves model {body.name} ({_short_id(body.digest)}) at"
        f" {_steps(body.step)}: {body.num_files:,} files, {_short_bytes(body.num_bytes)},"
        f" {short_flop(body.lineage_flop)} with all it descends from."
    )


@describe.register
def _pause_ordered(body: PauseOrdered) -> str:
    try:
        signed = read_order(canonical_json(body.envelope))
    except RecordError as error:
        return f"Pause order {_short_id(body.order)} does not verify: {error.message}."
    order = signed.order
    signers = ", ".join(key.name for key in signed.signers)
    return (
        f"Pause order {_short_id(body.order)}, signed by {signers}: no training above"
        f" {short_flop(order.above_flop)} from {short_time(order.begins)} until"
        f" {short_time(order.until)}.{_reason(order.reason)}"
    )


@describe.register
def _pause_lifted(body: PauseLifted) -> str:
    why = "all who signed it agree" if body.basis == "parties" else "its time has come"
    shown = ", as its timekeepers confirm" if body.evidence else ""
    return f"Pause order {_short_id(body.order)} is over: {why}{shown}."


@describe.register
def _paused(body: Paused) -> str:
    return (
        f"Run {body.run} pauses at {_steps(body.step)} and {short_flop(body.flop)}, as pause order"
        f" {_short_id(body.order)} asks. Checkpoint {_short_id(body.checkpoint)} keeps its place."
    )


@describe.register
def _resumed(body: Resumed) -> str:
    return (
        f"Run {body.run} goes on at {_steps(body.step)} from checkpoint"
        f" {_short_id(body.checkpoint)}, where it paused."
    )


@describe.register
def _log_followed(body: LogFollowed) -> str:
    name = body.log.partition("+")[0]
    binds = "its pause orders bind here, too" if body.is_obeyed else "its pause orders do not bind"
    return f"The log {name} is followed; {binds}."


@describe.register
def _share_granted(body: ShareGranted) -> str:
    return (
        f"A share is granted: {body.recipient} may read posts until {short_time(body.until)} (grant"
        f" {_short_id(body.grant)}). Purpose: {body.purpose.rstrip('.')}."
    )


@describe.register
def _share_cut(body: ShareCut) -> str:
    return f"Grant {_short_id(body.grant)} is cut.{_reason(body.reason)}"


@describe.register
def _post_forgotten(body: PostForgotten) -> str:
    posts = "1 post is" if body.num_posts == 1 else f"{body.num_posts:,} posts are"
    return f"{posts} taken back."


@describe.register
def _audit_done(body: AuditDone) -> str:
    verb = "passes" if body.is_passed else "fails"
    return f"Model {body.model} ({_short_id(body.digest)}) {verb} the audit {body.suite}."


@describe.register
def _model_served(body: ModelServed) -> str:
    return f"Model {body.model} ({_short_id(body.digest)}) answers people from now on."


@describe.register
def _model_withdrawn(body: ModelWithdrawn) -> str:
    return (
        f"Model {body.model} ({_short_id(body.digest)}) answers nobody any more."
        f"{_reason(body.reason)}"
    )
