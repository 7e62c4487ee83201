"""Takes the pictures of the README from a running mynah.

Reads the pages at a base address with Debian's Chromium; writes ``docs/images/*.png``:

    python docs/screenshots.py http://127.0.0.1:8400 --search "jobs since:2016-05-01"
"""

import argparse
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1280, 800), (390, 844)
ANSWER_TIMEOUT_MS = 120_000


def open_page(browser: Browser, base: str, size: tuple[int, int]) -> Page:
    """A page of that size, sharp enough for a README, without animations."""
    context = browser.new_context(
        base_url=base,
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=2,
        reduced_motion="reduce",
    )
    return context.new_page()


def ask(page: Page, question: str) -> None:
    """Ask, wait for the whole answer, light up the first post behind it."""
    page.goto("/")
    page.wait_for_selector(".send[data-state=ask]", timeout=ANSWER_TIMEOUT_MS)
    asked = question or page.locator(".hello-question").first.inner_text()
    page.get_by_label("Your question").fill(asked)
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-foot", timeout=ANSWER_TIMEOUT_MS)
    page.wait_for_timeout(1_000)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    if page.locator(".answer .mark").count():
        page.locator(".answer .mark").first.hover()


def save(page: Page, name: str) -> None:
    """Write what the screen shows."""
    page.wait_for_timeout(1_500)  # charts draw after their page
    page.screenshot(path=IMAGES / f"{name}.png")


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="address that mynah up printed")
    parser.add_argument("--question", default="", help="what to ask; the first suggestion if empty")
    parser.add_argument("--search", default="jobs", help="what to search for")
    wanted = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = open_page(browser, wanted.base, DESKTOP)
        for name in ("train", "posts", "ads", "search"):
            page.goto(f"/{name}")
            if name == "search":
                page.get_by_label("Search the posts").fill(wanted.search)
                page.keyboard.press("Enter")
                page.wait_for_selector(".results")
            save(page, name)
        ask(page, wanted.question)
        save(page, "ask")
        phone = open_page(browser, wanted.base, PHONE)
        ask(phone, wanted.question)
        save(phone, "ask-phone")
        browser.close()


if __name__ == "__main__":
    main()
