"""The published page of a record: one HTML file without scripts, for any web server.

Pure, but for ``site.html`` and ``site.css`` beside this file, which it reads. Whatever stands in a
log was written by its owner and is escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from mynah.record.entries import OrderEntry, PoolEntry, RunEntry
from mynah.record.notes import Note, TreeHead, VerifierKey
from mynah.record.register import Register
from mynah.record.site import describe, short_flop, short_time
from mynah.record.statements import Statement, format_time
from mynah.record.thresholds import THRESHOLDS, Threshold

__all__ = ["TIMELINE_LEAVES", "IndexPage", "render_index"]

TIMELINE_LEAVES = 200
CHART_RUNS = 24
"""Runs in the chart and the table, the largest first; the log has them all."""
_ROW_PX = 48
_LABEL_PX = 24
_FILES = (
    ("checkpoint", "the signed tree head"),
    ("vkey", "the key of the log; get it on another way, too"),
    ("party.pem", "the Ed25519 key that signs leaves and orders, for openssl"),
    ("model-signing.pem", "the P-256 key that signs models, for model_signing"),
    ("policy", "the witnesses that the owner asks; a verifier may choose others"),
    ("feed.xml", "the last leaves as an Atom feed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPage:
    """All that stands on the page."""

    key: VerifierKey
    """Of the log."""
    party: str
    note: Note
    register: Register
    leaves: Sequence[tuple[int, Statement]]
    """The last ones, oldest first."""
    proofs: frozenset[int]
    """Leaves that lie in ``proofs/``, each with its proof."""
    file_names: frozenset[str]
    """Files that are published beside the page."""
    made_us: int
    base_url: str = ""
    thresholds: Sequence[Threshold] = THRESHOLDS


def render_index(page: IndexPage) -> str:
    """The page as HTML."""
    head = TreeHead.parse(page.note.text)
    place = page.base_url.rstrip("/") or "ADDRESS-OF-THIS-FOLDER"
    values = {
        "name": escape(page.key.name),
        "party": escape(page.party),
        "css": _part("site.css"),
        "banner": _banner(page),
        "size": f"{head.size:,}",
        "last": short_time(page.leaves[-1][1].body.time) if page.leaves else "none yet",
        "witnesses": _witnesses(page),
        "made": short_time(format_time(page.made_us)),
        "chart": _chart(page),
        "runs": _runs(page),
        "pools": _pools(page.register.pools()),
        "thresholds": _thresholds(page.thresholds),
        "pauses": _pauses(page),
        "place": escape(place),
        "vkey": escape(str(page.key)),
        "files": _files(page),
        "shown": _shown(page, head.size),
        "timeline": "\n".join(_leaf(page, i, s) for i, s in reversed(page.leaves)),
    }
    return Template(_part("site.html")).substitute(values)


@cache
def _part(name: str) -> str:
    return (files("mynah.record") / name).read_text(encoding="utf-8")


def _link(page: IndexPage, index: int, words: str) -> str:
    """Words that lead to a leaf, if it is recent enough to stand on the page."""
    is_shown = page.leaves and index >= page.leaves[0][0]
    return f'<a href="#leaf-{index}">{escape(words)}</a>' if is_shown else escape(words)


def _banner(page: IndexPage) -> str:
    return "\n".join(
        f'<div class="banner" role="status"><h3>A pause is in force</h3>'
        f"<p>{escape(_terms(entry))}</p>"
        f'<p class="quiet">Order <code>{entry.signed.id}</code>,'
        f" {_link(page, entry.index, f'leaf {entry.index}')}.</p></div>"
        for entry in page.register.orders_in_force(page.made_us)
    )


def _terms(entry: OrderEntry) -> str:
    order = entry.order
    reason = f" Reason: {order.reason.rstrip('.')}." if order.reason else ""
    return (
        f"No training above {short_flop(order.above_flop)}, lineage included, from"
        f" {short_time(order.begins)} until {short_time(order.until)}.{reason}"
    )


def _witnesses(page: IndexPage) -> str:
    names = [line.name for line in page.note.signatures if line.name != page.key.name]
    if not names:
        return "nobody"
    return escape(", ".join(names)) + " (not checked by this page)"


def _state(run: RunEntry) -> str:
    if run.paused_by:
        return "paused"
    if run.is_final:
        return "ended"
    return "running" if run.flop else "declared"


def _largest_runs(register: Register) -> list[tuple[str, RunEntry]]:
    """Unknown lineages first, then the largest: what a reader should look at first."""
    found = sorted(
        register.runs.items(),
        key=lambda item: (item[1].lineage_flop is not None, -(item[1].covered_total() or 0)),
    )
    return found[:CHART_RUNS]


def _chart(page: IndexPage) -> str:
    runs = _largest_runs(page.register)
    if not runs:
        return "<p>No run is declared yet.</p>"
    limits = [(one.amount, "", "limit") for one in page.thresholds]
    for entry in page.register.orders_in_force(page.made_us):
        limits.append((entry.order.above, "pause ", "limit pause"))
    amounts = [amount for amount, _, _ in limits if amount > 0]
    totals = [total for _, run in runs for total in (run.total_flop, run.covered_total()) if total]
    low = math.floor(math.log10(min([*amounts, *totals, 10**27]))) - 1
    high = math.ceil(math.log10(max([*amounts, *totals, 10]))) + 1
    scale = _Scale(max(0, low), high)
    top = _LABEL_PX * len(limits) + 8
    height = top + _ROW_PX * len(runs) + _LABEL_PX
    lines = [scale.axis(top, height)]
    lines += [
        scale.limit(amount, what, kind, top=_LABEL_PX * row, height=height)
        for row, (amount, what, kind) in enumerate(sorted(limits))
    ]
    lines += [scale.bar(name, run, top=top + _ROW_PX * row) for row, (name, run) in enumerate(runs)]
    title = "Compute of each run on a scale of powers of ten, with thresholds"
    return (
        f'<div class="card"><svg role="img" aria-label="{title}" height="{height}">'
        f"<title>{title}</title>{''.join(lines)}</svg></div>"
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Powers of ten from left to right, in percent of the width: text keeps its size on a phone."""

    low: int
    high: int

    def at(self, flop: int) -> float:
        share = (math.log10(flop) - self.low) / (self.high - self.low) if flop > 0 else 0.0
        return round(100 * min(1.0, max(0.0, share)), 2)

    def axis(self, top: int, height: int) -> str:
        step = max(1, math.ceil((self.high - self.low) / 5))
        marks: list[str] = []
        for power in range(self.low, self.high + 1, step):
            x = self.at(10**power)
            anchor = "start" if x < 5 else "end" if x > 95 else "middle"
            marks.append(
                f'<line x1="{x}%" x2="{x}%" y1="{top}" y2="{height - _LABEL_PX}"/>'
                f'<text x="{x}%" y="{height - 4}" text-anchor="{anchor}">1e{power}</text>'
            )
        return f'<g class="axis">{"".join(marks)}</g>'

    def limit(self, amount: int, what: str, kind: str, *, top: int, height: int) -> str:
        x = self.at(amount)
        anchor, shift = ("end", -8) if x > 50 else ("start", 8)
        words = what + short_flop(amount).removesuffix(" FLOP")
        return (
            f'<g class="{kind}"><line x1="{x}%" x2="{x}%" y1="{top}" y2="{height - _LABEL_PX}"/>'
            f'<text x="{x}%" dx="{shift}" y="{top + 16}" text-anchor="{anchor}">{words}</text></g>'
        )

    def bar(self, name: str, run: RunEntry, *, top: int) -> str:
        label = name if len(name) <= 40 else f"{name[:39]}\u2026"
        if run.total_flop is None:
            words = f"{label}: lineage unknown"
            bars = f'<rect class="unknown" x="0" y="{top + 24}" width="100%" height="12"/>'
        else:
            words = f"{label}: {short_flop(run.total_flop)}"
            bars = (
                f'<rect class="planned" x="0" y="{top + 24}"'
                f' width="{self.at(run.covered_total() or 0)}%" height="12"/>'
                f'<rect class="counted" x="0" y="{top + 24}"'
                f' width="{self.at(run.total_flop)}%" height="12"/>'
            )
        return f'<g>{bars}<text x="0" y="{top + 16}">{escape(words)}</text></g>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: set[int]) -> str:
    """Cells are HTML already."""
    kinds = [' class="num"' if at in numbers else "" for at in range(len(columns))]
    head = "".join(f"<th{k}>{c}</th>" for k, c in zip(kinds, columns, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{k}>{c}</td>" for k, c in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _number(flop: int | None) -> str:
    if flop is None:
        return "unknown"
    return f'<span title="{flop:,}">{short_flop(flop).removesuffix(" FLOP")}</span>'


def _runs(page: IndexPage) -> str:
    if not page.register.runs:
        return ""
    rows = [
        (
            _link(page, run.index, name),
            escape(run.declared.model),
            _state(run),
            _number(run.flop),
            _number(run.total_flop),
            _number(run.planned_total),
            f"{run.device_s / 3600:,.2f}",
        )
        for name, run in _largest_runs(page.register)
    ]
    columns = ("run", "model", "state", "counted", "with lineage", "planned", "device-hours")
    rest = len(page.register.runs) - len(rows)
    more = f'<p class="quiet">{rest:,} smaller runs are in the log.</p>' if rest else ""
    return _table(columns, rows, numbers={3, 4, 5, 6}) + more


def _thresholds(thresholds: Sequence[Threshold]) -> str:
    rows = [(_number(one.amount), escape(one.name), escape(one.source)) for one in thresholds]
    return _table(("dotted line at", "threshold", "source"), rows, numbers={0})


def _pools(pools: Sequence[PoolEntry]) -> str:
    if not pools:
        return ""
    rows = [
        (
            escape(pool.pool),
            f"{pool.num_devices:,} \u00d7 {escape(pool.device)}",
            f"{len(pool.runs):,}",
            _number(pool.flop),
            f"{pool.device_s / 3600:,.2f}",
        )
        for pool in pools
    ]
    columns = ("pool of machines", "at most", "runs", "counted", "device-hours")
    return _table(columns, rows, numbers={2, 3, 4})


def _pauses(page: IndexPage) -> str:
    orders = sorted(page.register.orders.values(), key=lambda entry: -entry.index)
    if not orders:
        return "<p>No pause was ever ordered in this record.</p>"
    return "\n".join(_pause(entry, page) for entry in orders)


def _pause(entry: OrderEntry, page: IndexPage) -> str:
    if entry.lifted is not None:
        index = entry.lifted_index or 0
        state = f"lifted by {_link(page, index, f'leaf {index}')}"
    else:
        state = "in force" if entry.is_in_force(page.made_us) else "not begun"
    signers = ", ".join(key.name for key in entry.signed.signers)
    missing = ", ".join(key.name for key in entry.signed.missing)
    timekeepers = ", ".join(key.name for key in entry.order.timekeeper_keys) or "the local clock"
    asked = f" Asked, not signed: {escape(missing)}." if missing else ""
    return (
        f'<div class="card"><h3>Order {entry.signed.id[:8]}: {state}</h3>'
        f"<p>{escape(_terms(entry))}</p>"
        f'<p class="quiet">Signed by {escape(signers)}.{asked} Timekeepers:'
        f" {escape(timekeepers)}. {_link(page, entry.index, f'Leaf {entry.index}')}.</p></div>"
    )


def _files(page: IndexPage) -> str:
    lines = [
        f'<li><a href="{name}">{name}</a>: {words}</li>'
        for name, words in _FILES
        if name in page.file_names
    ]
    proofs = ", ".join(
        f'<a href="proofs/{index}.tlog-proof">{index}</a>' for index in sorted(page.proofs)[::-1]
    )
    if proofs:
        lines.append(
            f"<li>proofs of single leaves, each beside its leaf (.json in place of .tlog-proof):"
            f" {proofs}</li>"
        )
    return f"<ul>{''.join(lines)}</ul>"


def _shown(page: IndexPage, size: int) -> str:
    if size == 0:
        return "Nothing is written yet."
    if len(page.leaves) < size:
        return f"The last {len(page.leaves):,} of {size:,} leaves, newest first."
    return f"All {size:,} leaves, newest first."


def _leaf(page: IndexPage, index: int, statement: Statement) -> str:
    body = statement.body
    proof = ""
    if index in page.proofs:
        proof = (
            f' <a class="quiet" href="proofs/{index}.json">leaf</a>'
            f' <a class="quiet" href="proofs/{index}.tlog-proof">proof</a>'
        )
    return (
        f'<li id="leaf-{index}" value="{index}">'
        f'<time datetime="{body.time}">{short_time(body.time)}</time>'
        f'<span class="kind">{index} {body.kind}</span>'
        f'<span class="words">{escape(describe(body))}{proof}</span></li>'
    )
