from mynah.web.pages.taking_back import receipt_lines

RECEIPT = {
    "store": {"found": ["x:1", "x:2"], "reposts": ["x:2"], "bytes_rewritten": 1_234_567},
    "corpora": [{"num_tokens": 12}, {"num_tokens": 5}],
    "dialogues": [{"num_tokens": 20}],
    "exposures": [{"run": "b"}, {"run": "a"}, {"run": "b"}],
    "models": ["town-1"],
    "seconds": 0.25,
    "path": "takedowns/2025-01-06-abc.json",
}


def test_a_receipt_in_short() -> None:
    assert dict(receipt_lines(RECEIPT)) == {
        "Taken out": "1 post and 1 repost of it",
        "Written anew": "1.2 M bytes of the store",
        "Overwritten": "37 tokens",
        "Learned from it": "a, b",
        "Models with it": "town-1",
        "Took": "0.25 s",
        "Receipt": "takedowns/2025-01-06-abc.json",
    }


def test_a_post_that_was_gone_already() -> None:
    nothing = {
        **RECEIPT,
        "store": {"found": [], "reposts": [], "bytes_rewritten": 0},
        "corpora": [],
        "dialogues": [],
        "exposures": [],
        "models": [],
    }
    lines = dict(receipt_lines(nothing))
    assert lines["Taken out"] == "nothing: it was gone already"
    assert lines["Learned from it"] == "no run"
