"""What a person does on the pages, in a real browser, at the size of a desk and of a hand."""

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import SIZES, Serving

pytestmark = pytest.mark.browser
Visit = Callable[..., Page]
PATHS = ("/", "/search?q=ferry", "/posts", "/train", "/ads")


def ask(page: Page, question: str) -> None:
    expect(page.locator(".send")).to_have_attribute("data-state", "ask", timeout=60_000)
    earlier = page.locator(".turn").count()
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(earlier + 1)
    expect(page.locator(".turn").last.locator(".answer-foot")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("size", SIZES)
def test_ask_read_cite_search_advertise(house: Serving, visit: Visit, size: str) -> None:
    page = visit(house, size)
    page.goto("/")
    expect(page.locator(".hello-question")).to_have_count(4)
    ask(page, "When does the harbour ferry leave?")
    turn = page.locator(".turn")
    expect(turn.locator(".sentence").first).to_contain_text("ferry")
    mark = turn.locator(".answer .mark").first
    mark.focus()
    lit = turn.locator(".cited.is-lit")
    expect(lit).to_contain_text("@ada")
    mark.click()
    sheet = page.get_by_role("dialog", name="Post 1")
    expect(sheet.locator(".post-time")).to_contain_text("UTC")
    expect(sheet.get_by_role("link", name="Original")).to_have_attribute(
        "href", re.compile(r"^https://example\.org/ada/")
    )
    sheet.get_by_label("Close").click()
    expect(sheet).to_be_hidden()

    word = f"bakery{size}"
    page.goto("/ads")
    for name, value in (
        ("title", "Fresh bread"),
        ("text", "Baked on your street."),
        ("link", "https://example.org/bread"),
        ("keywords", f"bread, {word}"),
        ("bid", "0.50"),
        ("budget", "20"),
    ):
        page.locator(f"[data-field={name}]").fill(value)
    expect(page.locator(".preview .ad-title")).to_have_text("Fresh bread")
    page.get_by_role("button", name="Start campaign").click()
    expect(page.locator(".saved")).to_contain_text("Fresh bread")
    expect(page.locator(".campaign-title").first).to_have_text("Fresh bread")

    page.goto("/search")
    page.get_by_label("Search the posts").fill("bread since:2025-02-01")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?q=bread"))
    expect(page.locator(".post mark").first).to_have_text("bread")
    ad = page.get_by_role("complementary", name="Ad")
    expect(ad).to_contain_text("Fresh bread")
    expect(ad.locator(".ad-label")).to_have_text("Ad")
    ad.get_by_text("Why this").click()
    expect(ad.locator("details p")).to_contain_text("bread")


def test_an_ad_follows_an_answer_and_its_click_counts(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/ads")
    for name, value in (("title", "Night walks"), ("text", "With a lamp."), ("budget", "9"),
                        ("link", f"{house.base}/static/mynah.svg"), ("keywords", "canal"),
                        ("bid", "1")):  # fmt: skip
        page.locator(f"[data-field={name}]").fill(value)
    page.get_by_role("button", name="Start campaign").click()
    expect(page.locator(".saved")).to_be_visible()
    page.goto("/")
    ask(page, "Who walked home along the canal?")
    ad = page.locator(".turn .ad")
    expect(ad.locator(".ad-label")).to_have_text("Ad")
    with page.context.expect_page() as opened:
        ad.get_by_role("link", name="Night walks").click()
    expect(opened.value).to_have_url(re.compile("mynah.svg"))
    page.goto("/ads")
    row = page.get_by_role("row", name="Night walks")
    expect(row.locator("td[data-label=Clicked]")).to_have_text("1")
    row.get_by_role("button", name="Report").click()
    expect(page.locator(".report")).to_contain_text("Clicks per 100 shown")
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("paused")


def test_a_conversation_outlives_a_reload_and_ends_when_told(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/")
    ask(page, "When does the harbour ferry leave?")
    ask(page, "And the bread at the market?")
    expect(page.locator(".turn")).to_have_count(2)
    page.reload()
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator(".turn .answer-foot")).to_have_count(2)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator(".hello")).to_be_visible()


def test_nothing_is_made_up(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/")
    ask(page, "What about quantum zebras?")
    expect(page.locator(".unanswered")).to_contain_text("not an answer from posts")
    page.get_by_role("link", name="Search for it").click()
    expect(page).to_have_url(re.compile(r"/search\?q="))


@pytest.mark.parametrize("size", SIZES)
def test_what_a_post_holds_stays_text(house: Serving, visit: Visit, size: str) -> None:
    page = visit(house, size)
    page.goto("/search?q=lighthouse")
    post = page.locator(".post")
    expect(post).to_have_count(1)
    expect(post.locator(".post-text")).to_contain_text("<script>document.title")
    expect(post.locator(".post-text")).to_contain_text("**bold** [click](javascript:alert(1))")
    expect(post.locator(".post-text")).to_contain_text("{{ 7 * 7 }}")
    assert post.locator("script, img, strong, a").count() == 0
    page.goto("/")
    ask(page, "What of the lighthouse keeper?")
    expect(page.locator(".cited").first).to_contain_text("<script>")
    assert page.locator(".turn :is(script, img, strong)").count() == 0
    expect(page).to_have_title(re.compile("Ask"))


def test_operators_are_chips_and_errors_stand_under_the_box(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/search?q=ferry+from%3Aada+since%3A2025-03-01")
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator(".num-matches")).to_have_text(re.compile(r"\d+ posts"))
    page.locator(".chip", has_text="from:ada").click()
    expect(page.locator(".chip")).to_have_count(1)
    page.go_back()
    expect(page.locator(".chip")).to_have_count(2)
    page.goto("/search?q=ferry+frm%3Aada")
    expect(page.get_by_role("alert")).to_contain_text("There is no operator frm:")
    expect(page.get_by_label("Search the posts")).to_have_value("ferry frm:ada")


def test_more_results_and_why_they_are_there(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/search?q=ferry")
    expect(page.locator(".post")).to_have_count(20)
    page.get_by_role("button", name=re.compile("^Show ")).click()
    expect(page.locator(".post")).to_have_count(40)
    page.locator(".post summary").first.click()
    expect(page.locator(".why dl").first).to_contain_text("BM25")


def test_a_stretch_of_time_is_searched_by_dragging(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/search?q=ferry")
    chart = page.locator(".histogram .chart")
    expect(chart.locator("svg")).to_be_visible()
    expect(chart).to_have_attribute("data-armed", "")
    place = chart.bounding_box()
    assert place is not None
    middle = place["y"] + place["height"] / 2
    page.mouse.move(place["x"] + 0.3 * place["width"], middle)
    page.mouse.down()
    page.mouse.move(place["x"] + 0.6 * place["width"], middle, steps=8)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"since%3A2025-\d\d-\d\d\+until%3A2025"))
    expect(page.locator(".chip")).to_have_count(2)


def test_keys(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/search?q=ferry")
    expect(page.locator(".post")).to_have_count(20)
    page.keyboard.press("j")
    expect(page.locator(".post").nth(0)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator(".post").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".post").nth(1).locator("details")).to_have_attribute("open", "")
    page.keyboard.press("/")
    expect(page.get_by_label("Search the posts")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page).to_have_url(re.compile("/train$"))
    page.go_back()
    expect(page).to_have_url(re.compile("/search"))


def test_the_curve_grows_while_training_goes_on(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/train")
    headline = page.locator(".curve-result")
    expect(headline).to_have_text(re.compile(r"^1\.\d+ bits per byte"))
    expect(page.locator(".curve-place svg")).to_be_visible()
    expect(page.locator(".sample")).to_contain_text("is a kind of boat.")
    metrics = house.folder / "harbourtown" / "runs" / "run-1" / "metrics.jsonl"
    with metrics.open("a") as stream:
        stream.write('{"step": 20, "loss": 1.0, "tokens": 41000, "tokens_per_s": 222.0, '
                     '"remaining_s": 6, "mfu": 0.3, "heldout_bits_per_byte": 1.111}\n')  # fmt: skip
    expect(headline).to_have_text("1.111 bits per byte on held-out posts")
    expect(page.locator(".stats")).to_contain_text("222")
    expect(page.locator(".stats")).to_contain_text("30 %")


def test_a_wrong_campaign_says_what_is_wrong_where(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/ads")
    page.locator("[data-field=title]").fill("Kept")
    page.locator("[data-field=link]").fill("javascript:alert(1)")
    page.get_by_role("button", name="Start campaign").click()
    wrong = page.locator(".field.has-error")
    expect(wrong).to_have_count(5)
    expect(wrong.filter(has_text="Link")).to_contain_text("expected http:// or https://")
    expect(page.locator("[data-field=title]")).to_have_value("Kept")


@pytest.mark.parametrize("size", SIZES)
def test_no_page_is_wider_than_its_screen(house: Serving, visit: Visit, size: str) -> None:
    page = visit(house, size)
    for path in PATHS:
        page.goto(path)
        expect(page.locator("#page")).to_be_visible()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], path


def test_an_address_without_a_page_leads_back(house: Serving, visit: Visit) -> None:
    page = visit(house, expects="404")
    answer = page.goto("/nowhere")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="There is no page here")).to_be_visible()
    page.locator(".room-links").get_by_role("link", name="Search").click()
    expect(page).to_have_url(re.compile("/search$"))


def test_browsers_are_held_to_this_server(house: Serving, visit: Visit) -> None:
    answer = visit(house).goto("/")
    assert answer is not None
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_foreign_name_for_this_machine_is_not_answered(house: Serving) -> None:
    port = house.base.rpartition(":")[2]
    for name, status in ((f"localhost:{port}", 200), (f"evil.example:{port}", 400)):
        assert httpx.get(house.base, headers={"Host": name}).status_code == status


def test_day_and_night(house: Serving, visit: Visit) -> None:
    page = visit(house)
    page.goto("/train")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(250, 249, 246)"
    page.get_by_label("Light or dark").click()
    assert page.evaluate(ground) == "rgb(16, 18, 20)"
    page.goto("/posts")
    assert page.evaluate(ground) == "rgb(16, 18, 20)"


def test_over_a_network_a_key_opens_the_pages(public_house: Serving, visit: Visit) -> None:
    page = visit(public_house)
    page.goto("/search?q=ferry")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Key").fill((public_house.folder / "key").read_text())
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/search\?q=ferry$"))
    expect(page.locator(".post")).to_have_count(20)
    page.get_by_role("button", name=re.compile("^Show ")).click()
    expect(page.locator(".post")).to_have_count(40)
    expect(page.get_by_role("button", name="Take back")).to_have_count(40)
    page.get_by_role("link", name="Sign out").click()
    page.goto("/ads")
    expect(page).to_have_url(re.compile("/login"))
