"""The Posts page and taking a post back, in a real browser, at the size of a desk and of a hand."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.conftest import SIZES, Serving
from tests.browser.serve_house import NUM_ROWS, SECRET
from tests.browser.test_pages import ask

from mynah.errors import ConfigError
from mynah.workspace import locked

pytestmark = pytest.mark.browser
Visit = Callable[..., Page]


def open_examples(page: Page, reason: str) -> Locator:
    page.locator(".funnel-step.lost").get_by_role("button", name=reason).click()
    sheet = page.get_by_role("dialog", name=reason)
    expect(sheet.locator(".example-soon")).to_have_count(0)
    assert SECRET not in sheet.inner_text()
    return sheet


@pytest.mark.parametrize("size", SIZES)
def test_posts_from_read_to_learned(house: Serving, visit: Visit, size: str) -> None:
    page = visit(house, size)
    page.goto("/posts")
    expect(page.locator(".funnel-headline")).to_have_text(
        re.compile(rf"^Your model learns from \d+ of {NUM_ROWS} posts$")
    )
    expect(page.locator(".funnel-step").first).to_contain_text(str(NUM_ROWS))
    expect(page.locator(".funnel-step").last).to_contain_text("Learned from")
    expect(page.locator(".funnel-step", has_text="Private").locator("button")).to_have_count(0)
    expect(page.locator(".command-line code")).to_have_text("mynah up harbourtown --posts PATH")
    for reason, words in (
        ("Looks like advertising", "FREE prize"),
        ("Nothing but links", "https://example.org/a"),
        ("The same thing over and over", "hahaha"),
        ("Too short to learn from", "ok then"),
        ("Could not be read", "posts.csv:175"),
    ):
        sheet = open_examples(page, reason)
        expect(sheet).to_contain_text(words)
        page.keyboard.press("Escape")
        expect(sheet).to_be_hidden()


def test_a_near_duplicate_stands_beside_its_survivor(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/posts")
    sheet = open_examples(page, "Nearly the same as another post")
    pair = sheet.locator(".pair").first
    expect(pair.locator(".post")).to_have_count(2)
    expect(pair.get_by_role("heading")).to_have_text(
        ["Left out", re.compile(r"^Stands for it and \d+ others$")]
    )


def test_what_became_of_the_posts(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/posts")
    german = page.locator(".language", has_text="German")
    expect(german).to_contain_text("tagged 0")
    expect(page.locator(".language", has_text="E-mail addresses")).to_contain_text("1")
    expect(page.locator(".stat", has_text="Chains of replies")).to_contain_text("1")
    expect(page.get_by_role("row", name=re.compile("posts.csv"))).to_contain_text("CSV")
    tokens = page.locator("details", has_text="Tokens by language")
    tokens.locator("summary").click()
    expect(tokens.get_by_role("row", name=re.compile("English"))).to_be_visible()


def test_a_post_is_taken_back(house: Serving, visit: Visit) -> None:
    conversation = visit(house)
    conversation.goto("/")
    ask(conversation, "Who went to the swimming pool yesterday evening?")
    expect(conversation.locator(".turn")).to_contain_text("@mia")

    page = visit(house)
    page.goto("/search?q=from%3Amia")
    expect(page.locator(".post")).to_have_count(1)
    take_back = page.get_by_role("button", name="Take back this post by @mia")
    sheet = page.locator(".sheet")
    take_back.click()
    expect(sheet).to_contain_text("This cannot be undone")
    sheet.get_by_role("button", name="Keep it").click()
    expect(sheet).to_be_hidden()

    busy = ConfigError("busy", hint="wait")
    with locked(house.folder / "harbourtown" / "posts" / ".lock", busy=busy):
        take_back.click()
        sheet.get_by_role("button", name="Take it back").click()
        expect(sheet.get_by_role("alert")).to_contain_text("Another process is changing the posts")
        sheet.get_by_role("button", name="Close").click()
        expect(sheet).to_be_hidden()
    expect(page.locator(".post")).to_have_count(1)

    take_back.click()
    sheet.get_by_role("button", name="Take it back").click()
    expect(sheet.locator(".receipt")).to_contain_text("1 post")
    expect(sheet.locator(".receipt")).to_contain_text(re.compile(r"[1-9]\d* tokens"))
    expect(sheet.locator(".receipt")).to_contain_text("takedowns/")
    sheet.get_by_role("button", name="Done").click()
    expect(sheet).to_be_hidden()
    expect(page.locator(".post")).to_have_count(0)
    expect(page.locator(".num-matches")).to_have_text("0 posts")
    expect(conversation.locator(".turn")).to_have_count(0)
    page.reload()
    expect(page.locator(".empty")).to_contain_text("No post matches")

    page.goto("/posts")
    gone = page.locator(".funnel-step", has_text="Taken back or deleted")
    expect(gone.locator(".number")).to_have_text("\u22121")
    expect(page.locator(".funnel-note")).to_contain_text("1 of them left since")
    expect(page.locator("#page")).to_contain_text("1 post will never be read again")
    assert "pool@example.org" not in page.content()
