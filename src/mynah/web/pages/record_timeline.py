"""The timeline of leaves: what happened, newest first, each with its proof.

Filters and pages are plain links, so back, reload and a shared address work. Whatever a leaf says
is shown as text.
"""

from urllib.parse import urlencode

from mynah.record.site import describe
from mynah.web.markup import box, link, text
from mynah.web.record_leaves import GROUPS, Group, Leaf, LeafPage
from mynah.web.wording import absolute_time, exact_number, plural, relative_time

__all__ = ["address_of", "kind_words", "show_filters", "show_leaves"]

_KINDS = {
    "run-declared": "run declared",
    "checkpoint": "model saved",
    "pause-ordered": "pause ordered",
    "pause-lifted": "pause lifted",
    "log-followed": "log followed",
    "share-granted": "share granted",
    "share-cut": "share cut",
    "post-forgotten": "taken back",
    "model-served": "model served",
    "model-withdrawn": "model withdrawn",
}
_HEAVY = ("pause-ordered", "paused", "pause-lifted", "share-cut", "model-withdrawn")
"""Kinds whose dot is filled: they stop something or let it go on."""


def kind_words(kind: str) -> str:
    """A kind as a person would say it."""
    return _KINDS.get(kind, kind).capitalize()


def address_of(group: Group, before: int | None = None) -> str:
    """Where a stretch of the timeline is."""
    wanted = {"show": group.key} if group.key else {}
    if before is not None:
        wanted["before"] = str(before)
    return f"/record?{urlencode(wanted)}#timeline" if wanted else "/record#timeline"


def show_filters(current: Group) -> None:
    """One link a group of kinds."""
    with box("nav", "filters", aria_label="Kinds of leaves"):
        for group in GROUPS:
            chosen = link(group.name, address_of(group), "filter")
            if group is current:
                chosen.props["aria-current"] = "true"


def show_leaves(page: LeafPage, group: Group, *, before: int | None) -> None:
    """The leaves of a page, and the way to older ones."""
    if page.leaves:
        with box("ol", "leaves"):
            for leaf in page.leaves:
                _leaf(leaf, group)
    else:
        text("p", _nothing(page, group), "quiet")
    with box("p", "actions start leaf-pages"):
        if page.older is not None:
            look = "Look further back" if page.num_passed else "Older"
            link(look, address_of(group, page.older), "button small")
        if before is not None:
            link("Newest", address_of(group), "button small")


def _nothing(page: LeafPage, group: Group) -> str:
    if page.num_passed:
        return f"None of the {exact_number(page.num_passed)} leaves looked at is of this kind."
    return f"No leaf is about {group.name.lower()}." if group.key else "No leaf is older."


def _leaf(leaf: Leaf, group: Group) -> None:
    kind = leaf.body.kind
    with box("li", f"leaf kind-{kind}", id=f"leaf-{leaf.index}"):
        box("span", "leaf-dot is-heavy" if kind in _HEAVY else "leaf-dot", aria_hidden="true")
        with box("p", "leaf-head"):
            text("span", kind_words(kind), "leaf-kind")
            text("time", relative_time(leaf.when), "quiet", datetime=leaf.body.time,
                 title=absolute_time(leaf.when))  # fmt: skip
        text("p", describe(leaf.body), "leaf-words")
        with box("p", "leaf-foot"):
            link(f"Leaf {leaf.index}", f"/log/leaf/{leaf.index}",
                 title="The signed statement as JSON")  # fmt: skip
            link("Proof", f"/log/proof/{leaf.index}", download="",
                 aria_label=f"Download the proof of leaf {leaf.index}",
                 title="Download that it is in the log: a .tlog-proof file")  # fmt: skip
            if leaf.num_before:
                runs = next(group for group in GROUPS if group.key == "runs")
                link(f"and {plural(leaf.num_before, 'earlier one')}",
                     address_of(runs, leaf.index))  # fmt: skip
