"""The Record page in a real browser, at the size of a desk and of a hand, by day and by night.

The house's record is of organisations that do not exist; see ``tests/fakes/tiny_record.py``.
"""

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import SIZES, Serving, serve

from mynah.record.verify import open_source, verify_log
from mynah.record.verify.sources import UrlSource

pytestmark = pytest.mark.browser
Visit = Callable[..., Page]

CONTRAST_JS = """() => {
  const rgb = (css) => css.match(/[\\d.]+/g).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (el) => {
    for (; el; el = el.parentElement) {
      const colour = rgb(getComputedStyle(el).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.querySelector("#page"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [words, el] = [walker.currentNode.data.trim(), walker.currentNode.parentElement];
    if (!words || el.closest("svg") || !el.getClientRects().length) continue;
    const [ink, paper] = [lum(rgb(getComputedStyle(el).color)), lum(ground(el))];
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) faint.push(words);
  }
  return faint;
}"""
"""Texts of the page with less than 4.5:1 against what is behind them."""


@pytest.fixture(scope="module")
def unrecorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    yield from serve(tmp_path_factory.mktemp("unrecorded"), "--unrecorded")


def open_record(page: Page, path: str = "/record") -> None:
    page.goto(path)
    expect(page.locator(".leaf").first).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)


@pytest.mark.parametrize("size", SIZES)
def test_what_binds_comes_first(house: Serving, visit: Visit, size: str) -> None:
    page = visit(house, size)
    open_record(page)
    banner = page.get_by_role("region", name="Pause in force")
    expect(banner).to_contain_text("nothing above 2.1e25 FLOP until")
    expect(banner).to_contain_text("signed by heron.example, stork.example, crane.example")
    expect(banner).to_contain_text("paused: tern-2-pre")
    box = banner.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < SIZES[size][1]
    expect(page.get_by_role("complementary", name="What this can't prove")).to_be_visible()
    expect(page.locator(".record-first svg")).to_be_visible()
    expect(page.locator(".record-first svg")).to_contain_text("GPT-4 class")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_can_be_read(house: Serving, visit: Visit, size: str, theme: str) -> None:
    page = visit(house, size)
    page.emulate_media(color_scheme=theme)  # pyright: ignore[reportArgumentType]
    open_record(page)
    for details in page.locator("details").all():
        details.locator("summary").click()
    assert page.evaluate(CONTRAST_JS) == []
    unnamed = "[...document.querySelectorAll('#page a, #page button')].filter((el) => "
    unnamed += "!el.textContent.trim() && !el.getAttribute('aria-label')).length"
    assert page.evaluate(unnamed) == 0


def test_what_a_leaf_says_stays_text(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_record(page, "/record?show=pauses")
    words = page.locator(".leaf-words", has_text="<script>document.title = 'stolen'</script>")
    expect(words.first).to_contain_text("{{ 7 * 7 }} let us wait & look")
    assert page.locator("#page script").count() == 0
    expect(page).to_have_title(re.compile("Record"))


def test_each_party_has_its_verdict(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_record(page)
    table = page.get_by_role("region", name="Pauses", exact=True).locator("article").first
    for name, verdict, why in (
        ("heron.example", "kept", "shows no work inside the pause"),
        ("stork.example", "broken", "wader-1 counts 2e24 FLOP more"),
        ("crane.example", "stale", "No sign of life"),
    ):
        row = table.get_by_role("row", name=name)
        expect(row.locator(".state")).to_have_text(verdict)
        expect(row).to_contain_text(why)


def test_runs_and_pools_in_numbers(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_record(page)
    row = page.get_by_role("region", name="Runs").get_by_role("row", name="tern-chat-3")
    expect(row).to_contain_text("running")
    cell = row.locator("td[data-label=Lineage] .number")
    expect(cell).to_have_text("3.1e24")
    expect(cell).to_have_attribute(
        "title", "3,144,000,000,000,000,000,000,000 floating-point operations"
    )
    pools = page.get_by_role("region", name="Pools")
    expect(pools.get_by_role("row", name="north")).to_contain_text("16,384 \u00d7 H100 80GB")


def test_filters_and_pages_are_addresses(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_record(page)
    page.get_by_role("link", name="Older").click()
    expect(page).to_have_url(re.compile(r"before=\d+"))
    expect(page.locator("#leaf-0")).to_contain_text("tern-base-1 is declared")
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("#leaf-0")).to_have_count(0)
    page.get_by_label("Kinds of leaves").get_by_role("link", name="Sharing").click()
    expect(page.locator(".leaf")).to_have_count(2)
    expect(page.locator(".leaf").first).to_contain_text("The study is over")
    page.reload()
    expect(page.locator(".leaf")).to_have_count(2)
    expect(page.locator(".filter[aria-current]")).to_have_text("Sharing")
    page.go_back()
    expect(page.locator(".filter[aria-current]")).to_have_text("Everything")


def test_a_proof_is_downloaded(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_record(page, "/record?show=forgotten")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download the proof of leaf")).first.click()
    assert download.value.suggested_filename.endswith(".tlog-proof")
    assert download.value.path().read_bytes().startswith(b"c2sp.org/tlog-proof@v1\n")


def test_commands_can_be_copied(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_record(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    checks = page.get_by_role("region", name="Check it yourself")
    command = checks.locator("pre").first.inner_text()
    assert command.startswith(f"mynah record verify {house.base}/log --key heron.example/")
    checks.get_by_role("button", name="Copy").first.click()
    assert page.evaluate("navigator.clipboard.readText()") == command
    # Other tests of this house add leaves, and nobody has cosigned the newest head then.
    log = page.get_by_role("region", name="The log")
    expect(log).to_contain_text(re.compile("its key is not known here|Nobody has cosigned"))


def test_a_stranger_verifies_the_log_of_a_house_that_asks_for_a_key(public_house: Serving) -> None:
    address = f"{public_house.base}/log"
    key = httpx.get(f"{address}/vkey").text.strip()
    source = open_source(address)
    report = verify_log(source, keys=[key], num_workers=1)
    assert isinstance(source, UrlSource)
    assert source.client is not None
    source.client.close()
    assert report.counts["contradicted"] == 0
    assert report.size > 40
    assert httpx.get(f"{address}/").status_code == 200
    assert httpx.get(f"{public_house.base}/record").status_code == 303


def test_on_a_phone_the_record_is_under_more(house: Serving, visit: Visit) -> None:
    page = visit(house, "phone")
    page.goto("/train")
    link = page.get_by_role("link", name="Record")
    expect(link).to_be_hidden()
    more = page.get_by_role("button", name="More")
    more.click()
    expect(more).to_have_attribute("aria-expanded", "true")
    link.click()
    expect(page).to_have_url(re.compile("/record$"))
    more.click()
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()


def test_keys_lead_to_the_record(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/search")
    page.locator("#page").focus()
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile("/record$"))


def test_it_can_be_printed(chromium: Browser, house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_record(page)
    page.emulate_media(media="print")
    expect(page.locator(".rail")).to_be_hidden()
    expect(page.locator(".filters")).to_be_hidden()
    expect(page.get_by_role("complementary", name="What this can't prove")).to_be_visible()
    assert page.pdf().startswith(b"%PDF")


def test_without_a_leaf_the_page_says_how_to_begin(unrecorded: Serving, visit: Visit) -> None:
    page = visit(unrecorded)
    page.goto("/record")
    expect(page.locator(".empty")).to_contain_text("Nothing is recorded yet")
    expect(page.locator(".command-line code")).to_have_text("mynah up harbourtown")
    expect(page.get_by_role("complementary", name="What this can't prove")).to_be_visible()
    assert httpx.get(f"{unrecorded.base}/log/checkpoint").status_code == 404
