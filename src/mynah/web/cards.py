"""Cards that several pages show: a post, a post behind an answer, an ad.

What a post says reaches the browser as text only; addresses out of posts are checked first.
"""

from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import urlsplit

from nicegui import ui
from nicegui.element import Element

from mynah.ads import Impression
from mynah.posts import Post
from mynah.web.markup import box, highlighted, icon, link, safe_url, text
from mynah.web.wording import absolute_time, exact_number, post_time, short_number

__all__ = [
    "ad_card",
    "author_name",
    "host_of",
    "post_card",
    "post_counts",
    "post_head",
    "show_post",
]


def author_name(post: Post) -> str:
    """How an author is written; an export may not say who it was."""
    return f"@{post.author}" if post.author else "someone"


def post_head(post: Post, *, time: Literal["short", "long", "exact"] = "long") -> Element:
    """Author and time; the exact time is there on hover when it is not what is shown."""
    head = box("header", "post-head")
    exact = absolute_time(post.created_at)
    long = post_time(post.created_at)
    shown = {"short": long.partition(", ")[0], "long": long, "exact": exact}[time]
    with head:
        text("span", author_name(post), "post-author", title=author_name(post))
        moment = text("time", shown, "post-time", title=long if time == "exact" else exact)
        if post.created_at is not None:
            moment.props["datetime"] = post.created_at.isoformat()
    return head


def post_counts(post: Post) -> None:
    """Likes, reposts and replies with their exact numbers on hover, and the way to the original."""
    for name, count, word in (
        ("like", post.likes, "likes"),
        ("repost", post.reposts, "reposts"),
        ("reply", post.replies, "replies"),
    ):
        if count or name != "reply":
            with box("span", "count", title=f"{exact_number(count)} {word}"):
                icon(name, "small")
                text("span", short_number(count))
    if post.lang:
        text("span", post.lang, title="Language, as the network tagged it")
    if url := safe_url(post.url):
        link("Original", url, target="_blank", rel="noopener noreferrer nofollow")


def post_card(
    post: Post,
    *,
    highlights: Sequence[tuple[int, int]] = (),
    is_absolute: bool = False,
    more: Callable[[], None] | None = None,
) -> Element:
    """A post in full; ``more`` adds to its last line."""
    card = box("article", "post")
    with card:
        post_head(post, time="exact" if is_absolute else "long")
        highlighted(post.text, highlights)
        with box("footer", "post-foot"):
            post_counts(post)
            if more is not None:
                more()
    return card


def show_post(post: Post, *, title: str) -> None:
    """Open a post in a sheet over the page; Escape or the cross closes it."""
    with ui.dialog() as dialog, box("div", "sheet"):
        with box("div", "sheet-head"):
            text("h2", title)
            with box("button", "tool", type="button", aria_label="Close", title="Close").on(
                "click", dialog.close
            ):
                icon("close")
        post_card(post, is_absolute=True)
    dialog.props["aria-label"] = title
    dialog.on("hide", dialog.delete)
    dialog.open()


def ad_card(impression: Impression) -> Element:
    """A creative, labelled as what it is, apart from what the house itself says."""
    card = box("aside", "ad", aria_label=impression.label)
    with card:
        text("span", impression.label, "ad-label")
        link(impression.title, f"/v1/ads/{impression.id}/click", "ad-title",
             target="_blank", rel="noopener noreferrer sponsored nofollow")  # fmt: skip
        text("p", impression.text, "ad-text")
        with box("div", "ad-foot"):
            text("span", host_of(impression.link))
            with box("details"):
                text("summary", "Why this")
                text("p", impression.reason)
    return card


def host_of(address: str) -> str:
    """The part of an address that says who is behind it."""
    try:
        return urlsplit(address).hostname or address
    except ValueError:
        return address
