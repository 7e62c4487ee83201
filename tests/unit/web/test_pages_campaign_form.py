from mynah.web.campaign_form import FIELDS, CampaignForm

GOOD = {
    "title": "Fresh bread",
    "text": "Baked on your street.",
    "link": "https://example.org/bread",
    "keywords": "bread, early breakfast,",
    "bid": "0.50",
    "budget": "20",
}


def test_a_good_form_becomes_a_draft() -> None:
    form = CampaignForm(dict(GOOD))
    assert form.errors() == {}
    draft = form.draft()
    assert draft.keywords == ("bread", "early breakfast")
    assert (draft.bid_micros, draft.budget_micros) == (500_000, 20_000_000)


def test_an_empty_form_says_what_every_field_wants() -> None:
    assert set(CampaignForm().errors()) == set(FIELDS)


def test_each_error_stands_at_its_own_field() -> None:
    for name, wrong in (
        ("title", "x" * 81),
        ("link", "javascript:alert(1)"),
        ("keywords", "???"),
        ("bid", "a lot"),
        ("budget", "-3"),
    ):
        assert set(CampaignForm({**GOOD, name: wrong}).errors()) == {name}, name


def test_a_budget_below_the_bid_is_an_error_of_the_budget() -> None:
    errors = CampaignForm({**GOOD, "bid": "5", "budget": "1"}).errors()
    assert set(errors) == {"budget"}
    assert "1.00" in errors["budget"].message


def test_a_wrong_bid_does_not_blame_the_budget() -> None:
    assert set(CampaignForm({**GOOD, "bid": "0"}).errors()) == {"bid"}
