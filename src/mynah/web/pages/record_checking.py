"""How a stranger checks the record, what there is to download, and what it can't prove.

Reads nothing but the facts it is given.
"""

import shlex
from urllib.parse import quote

from mynah.web.markup import box, link, text
from mynah.web.record_facts import HeadFacts, WitnessFacts
from mynah.web.wording import absolute_time, exact_number, relative_time

__all__ = ["LIMITS", "commands", "show_checks", "show_downloads", "show_limits", "show_log"]

LIMITS = (
    (
        "A run that nobody declares.",
        "It leaves no trace here. Only who sees the machines can tell.",
    ),
    ("The true FLOP.", "They are counted from the model's architecture by its owner's program."),
    ("That machines stand idle.", "Devices outside a declared pool are not seen at all."),
    ("Who held the key.", "Whoever steals it signs as its owner, until the theft is found."),
    ("That all see the same.", "A log that no one follows or cosigns can have two versions."),
)
"""Claims that no reader should make, and why."""


def show_limits() -> None:
    """The box that is always there."""
    with box("aside", "limits", aria_label="What this can't prove"):
        text("h2", "What this can\u2019t prove")
        with box("ul"):
            for claim, why in LIMITS:
                with box("li"):
                    text("strong", claim)
                    text("span", why)


def commands(url: str, head: HeadFacts, *, leaf: int) -> tuple[tuple[str, str, str], ...]:
    """Title, explanation and shell commands of each way to check the log at ``url``."""
    address, vkey = shlex.quote(url), shlex.quote(head.vkey)
    key = shlex.quote(head.vkey.split("+", 2)[2])
    at = shlex.quote(f"{url}/leaf/{leaf}")
    openssl = "\n".join(
        (
            f"curl -s {at} > leaf.json",
            'sed \'s/.*"payload":"\\([^"]*\\)".*/\\1/\' leaf.json | base64 -d > statement.json',
            'sed \'s/.*"sig":"\\([^"]*\\)".*/\\1/\' leaf.json | base64 -d > leaf.sig',
            "size=$(wc -c < statement.json | tr -d ' ')",
            "{ printf 'DSSEv1 28 application/vnd.in-toto+json %s ' $size; cat statement.json; }"
            " > signed.bin",
            "{ printf '\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000';",
            f"  echo {key} | base64 -d | tail -c 32; }} > key.der",
            "openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin"
            " -in signed.bin -sigfile leaf.sig",
        )
    )
    go = "\n".join(
        (
            "cat > head.go <<'END'",
            "package main",
            'import ("fmt"; "io"; "os"; "golang.org/x/mod/sumdb/note")',
            "func main() {",
            "\tkey, err := note.NewVerifier(os.Args[1])",
            "\tif err != nil { panic(err) }",
            "\thead, _ := io.ReadAll(os.Stdin)",
            "\tsigned, err := note.Open(head, note.VerifierList(key))",
            "\tif err != nil { panic(err) }",
            "\tfmt.Print(signed.Text)",
            "}",
            "END",
            "go mod init check && go get golang.org/x/mod/sumdb/note",
            f"curl -s {address}/checkpoint | go run head.go {vkey}",
        )
    )
    return (
        ("mynah", "All of it from scratch: every signature, hash, count and pause.",
         f"mynah record verify {address} --key {vkey}"),
        ("openssl", f"The signature of one leaf, here leaf {leaf}.", openssl),
        ("Go", "The signature of the tree head, with the code that checks Go\u2019s own modules.",
         go),
    )  # fmt: skip


def show_checks(url: str, head: HeadFacts) -> None:
    """Commands to copy, the shortest first."""
    for number, (name, meaning, command) in enumerate(commands(url, head, leaf=head.size - 1)):
        if number == 0:
            text("p", meaning, "note")
            _command(command, "wraps")
            text("p", "Get the key from its owner by another way than this page: a page that lies "
                 "shows a key that fits the lie.", "note")  # fmt: skip
            continue
        with box("details", "check"):
            text("summary", f"With {name}, without mynah")
            text("p", meaning, "note")
            _command(command)


def _command(command: str, classes: str = "") -> None:
    with box("div", f"command-line check-line {classes}"):
        text("pre", command, tabindex="0")
        text("button", "Copy", "button small", type="button", data_copy=command)


def show_log(head: HeadFacts) -> None:
    """The signed state of the log, and who cosigned it."""
    with box("dl", "receipt"):
        for name, value, classes in (
            ("Log", head.origin, "code"),
            ("Leaves", exact_number(head.size), ""),
            ("Root", head.root, "code"),
            ("Key", head.vkey, "code"),
        ):
            text("dt", name)
            with box("dd"):
                text("span", value, classes)
        text("dt", "Witnesses")
        with box("dd"):
            if not head.witnesses:
                text("span", "Nobody has cosigned this head yet.", "quiet")
            for witness in head.witnesses:
                _witness(witness)


def _witness(witness: WitnessFacts) -> None:
    with box("p", "witness"):
        dot = "is-good" if witness.is_checked else "is-idle"
        box("span", f"dot {dot}", aria_hidden="true")
        text("span", witness.name, "code")
        words = f"cosigned it {relative_time(witness.when)}"
        text("span", words if witness.is_checked else f"{words}; its key is not known here",
             "note", title=absolute_time(witness.when))  # fmt: skip


def show_downloads(models: tuple[str, ...], *, has_policy: bool) -> None:
    """What is there for keeping."""
    with box("ul", "downloads"):
        for name, href, meaning in (
            ("Tree head", "/log/checkpoint", "size and root, signed; keep it to compare later"),
            ("Key", "/log/vkey", "the log\u2019s, which signs it"),
            ("Public page", "/log/", "the same without signing in, for strangers"),
            ("Policy", "/log/policy", "the witnesses that a verifier should ask for"),
            ("Feed", "/log/feed.xml", "follow it in any feed reader"),
        ):
            if name == "Policy" and not has_policy:
                continue
            with box("li"):
                link(name, href)
                text("span", meaning, "note")
        for model in models:
            with box("li"):
                link(f"Bill of materials of {model}", f"/log/bom/{quote(model, safe='')}",
                     download="")  # fmt: skip
                text("span", "what it is made of, in SPDX 3", "note")
