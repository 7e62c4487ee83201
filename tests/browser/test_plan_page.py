"""The Plan page in a real browser, at the size of a desk and of a hand, with the real planner."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import ROOT, SIZES, Serving
from tests.browser.test_record_page import CONTRAST_JS

pytestmark = pytest.mark.browser
Visit = Callable[..., Page]

SMALL = "/plan?gpus=16&gpu=H100-SXM-80GB&days=2&budget=&serve_tokens=&failure_rate="
"""Sixteen GPUs for two days: a plan of a second."""


def open_plan(page: Page, path: str = SMALL) -> None:
    page.goto(path)
    expect(page.locator(".plan-status")).to_be_hidden(timeout=60_000)
    expect(page.locator(".plan-results .skeleton")).to_have_count(0)


def settled(page: Page, headline: re.Pattern[str]) -> None:
    expect(page.locator(".plan h2").first).to_have_text(headline, timeout=60_000)
    expect(page.locator(".plan-status")).to_be_hidden(timeout=60_000)


@pytest.mark.parametrize("size", SIZES)
def test_what_so_many_gpus_can_train(house: Serving, visit: Visit, size: str) -> None:
    page = visit(house, size)
    open_plan(page)
    expect(page.locator(".plan h2").first).to_have_text(
        re.compile(r"^An? [\d.]+[BM] model on [\d.]+[TB] tokens$")
    )
    for name, value in (("Time", "2 days"), ("Money", r"\$[\d,.]+"), ("Expected loss", r"[23]\."),
                        ("Compute", r"e2\d"), ("Goodput", "%"), ("Checkpoint every", "min|h"),
                        ("Model FLOP use", "%")):  # fmt: skip
        tile = page.locator(".stat", has=page.locator("dt", has_text=re.compile(f"^{name}$")))
        expect(tile.locator("dd")).to_have_text(re.compile(value))
        expect(tile.locator(".number")).to_have_attribute("title", re.compile(r"\w: [\d.]"))
    expect(page.locator(".plan-layouts tbody tr")).not_to_have_count(0)
    expect(page.locator(".rejected li")).not_to_have_count(0)
    expect(page.locator(".thresholds li")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


def test_every_picture_says_what_it_shows(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    for words in (
        r"Days and money of this run by number of GPUs\. .*16 GPUs: 2 days, .*chosen",
        r"Goodput by failure rate\. This plan: 1\.8e-05",
        r"GB of 85\.9 GB in use",
        r"Where the time of a step goes: Matrix products",
        r"(One replica|\d+ replicas) of \d+ GPUs?",
    ):
        expect(page.get_by_role("img", name=re.compile(words))).to_have_count(1)
    for word in ("GPUs", "Days", "Budget, USD", "Failure rate"):
        expect(page.get_by_role("slider", name=f"{word}, by steps")).to_be_visible()
        expect(page.get_by_label(word, exact=True)).to_be_visible()
    assert page.locator(".machine rect.gpu").count() in (4, 8, 16)


def test_a_slider_asks_anew_and_the_address_follows(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    before = page.locator(".plan h2").first.inner_text()
    slider = page.get_by_role("slider", name="GPUs, by steps")
    expect(slider).to_have_attribute("aria-valuetext", "16")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("GPUs", exact=True)).to_have_value("32")
    expect(page).to_have_url(re.compile(r"gpus=32&"))
    expect(page.locator(".plan h2").first).not_to_have_text(before, timeout=60_000)
    expect(page.locator(".command-line code")).to_have_text(
        re.compile(r"--gpus\s+32\s"), timeout=60_000
    )
    expect(page.locator(".plan-status")).to_be_hidden(timeout=60_000)
    after = page.locator(".plan h2").first.inner_text()

    page.reload()
    expect(page.get_by_label("GPUs", exact=True)).to_have_value("32")
    settled(page, re.compile(re.escape(after)))
    page.go_back()
    expect(page.get_by_label("GPUs", exact=True)).to_have_value("24")
    page.go_back()
    expect(page.get_by_label("GPUs", exact=True)).to_have_value("16")
    settled(page, re.compile(re.escape(before)))


def test_the_last_question_wins(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    slider = page.get_by_role("slider", name="Days, by steps")
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Days", exact=True)).to_have_value("45")
    tile = page.locator(".stat", has=page.locator("dt", has_text=re.compile("^Time$")))
    expect(tile.locator("dd")).to_have_text("45 days")
    expect(page.locator(".plan-status")).to_be_hidden(timeout=60_000)
    expect(tile.locator("dd")).to_have_text("45 days")
    expect(page.locator(".command-line code")).to_have_text(re.compile(r"--days\s+45"))


def test_what_is_impossible_is_said_and_what_was_typed_stays(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    budget = page.get_by_label("Budget, USD", exact=True)
    budget.fill("5")
    note = page.locator(".plan .error-note")
    expect(note).to_contain_text("the smallest useful plan needs")
    expect(page.locator(".plan-results")).to_be_hidden()
    budget.fill("lots")
    expect(note).to_contain_text("--budget is 'lots'")
    expect(budget).to_have_value("lots")
    page.get_by_label("GPUs", exact=True).fill("0")
    budget.fill("")
    expect(note).to_contain_text("--gpus is 0 accelerators")
    page.keyboard.press("Tab")
    page.reload()
    expect(page.get_by_label("GPUs", exact=True)).to_have_value("0")
    expect(note).to_contain_text("--gpus is 0 accelerators")
    page.get_by_label("GPUs", exact=True).fill("16")
    expect(page.locator(".plan-results")).to_be_visible()
    expect(note).to_have_count(0)


def test_on_a_phone_the_answer_stays_beside_the_sliders(house: Serving, visit: Visit) -> None:
    page = visit(house, "phone")
    open_plan(page)
    brief = page.locator(".plan-brief")
    expect(brief).to_have_text(re.compile(r"^[\d.]+[BM] on [\d.]+[TB] . 2 days . \$[\d,.]+"))
    expect(brief).to_be_in_viewport()
    page.get_by_label("Days", exact=True).fill("3")
    expect(brief).to_have_text(re.compile(". 3 days ."))
    page.get_by_label("Days", exact=True).fill("-3")
    expect(brief).to_have_text("This cannot be planned: see below")


def test_a_gpu_that_nobody_knows(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/plan?gpus=16&gpu=H1000&days=2")
    expect(page.locator(".plan .error-note")).to_contain_text("No accelerator is called 'H1000'")
    expect(page.locator(".plan .error-note")).to_contain_text("Did you mean")
    expect(page.get_by_label("GPU", exact=True)).to_have_value("H1000")
    page.get_by_label("GPU", exact=True).select_option("H200-SXM-141GB")
    settled(page, re.compile("model on"))
    expect(page).to_have_url(re.compile("gpu=H200-SXM-141GB"))


def test_a_model_that_is_served_much_is_smaller(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    served = page.get_by_label("Tokens it will read and write", exact=True)
    expect(served).to_be_hidden()
    size = page.locator(".stat", has=page.locator("dt", has_text=re.compile("^Size$")))
    before = size.locator(".number").inner_text()
    page.get_by_label("cheap to serve").check()
    expect(served).to_have_value("10 T")
    expect(page).to_have_url(re.compile("serve_tokens=10T"))
    expect(size.locator(".number")).not_to_have_text(before)
    expect(page.locator(".plan-status")).to_be_hidden(timeout=60_000)
    assert weights(size.locator(".number").inner_text()) < weights(before)
    page.get_by_label("lowest loss").check()
    expect(size.locator(".number")).to_have_text(before)


def weights(words: str) -> float:
    return float(words[:-1]) * {"M": 1e6, "B": 1e9}[words[-1]]


def test_a_rougher_cluster_gets_less_done(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    page.get_by_label("Failure rate", exact=True).fill("0.02")
    page.keyboard.press("Tab")
    expect(page).to_have_url(re.compile(r"failure_rate=0\.02"))
    goodput = page.locator(".stat", has=page.locator("dt", has_text=re.compile("^Goodput$")))
    expect(goodput.locator(".number")).to_have_text(re.compile(r"^\d\d %$"), timeout=60_000)
    expect(page.locator(".command-line code")).to_contain_text("failures_per_accelerator_hour=0.02")
    page.get_by_role("button", name="Use those").click()
    expect(page).to_have_url(re.compile(r"failure_rate=$"))
    expect(goodput.locator(".number")).to_have_text(re.compile(r"^9\d"), timeout=60_000)


def test_the_command_line_gives_the_same_plan(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    command = page.locator(".command-line button").get_attribute("data-copy")
    assert command == "mynah plan run --gpus 16 --gpu H100-SXM-80GB --days 2"
    told = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    layout = page.locator(".plan-layouts tr[aria-current]").get_attribute("title")
    assert layout is not None
    assert layout in told


def test_keys_lead_there(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/posts")
    page.keyboard.press("g")
    page.keyboard.press("l")
    expect(page).to_have_url(re.compile("/plan$"))
    expect(page.get_by_label("GPUs", exact=True)).to_have_value("10,000")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_read(house: Serving, visit: Visit, scheme: str) -> None:
    page = visit(house)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_plan(page)
    assert page.evaluate(CONTRAST_JS) == []


def test_it_prints_without_the_controls_of_a_screen(house: Serving, visit: Visit) -> None:
    page = visit(house)
    open_plan(page)
    page.emulate_media(media="print")
    expect(page.locator(".rail")).to_be_hidden()
    expect(page.locator(".command-line button")).to_be_hidden()
    expect(page.locator(".plan h2").first).to_be_visible()
    expect(page.locator(".plan-results .chart").first).to_be_visible()
    expect(page.get_by_role("slider").first).to_be_hidden()
