"""The look holds: contrast, one source for colours, nothing from elsewhere."""

import re

import pytest

from mynah.web.shell import ROOMS, STATIC
from mynah.web.theme import DARK, LIGHT, bar_chart, theme_css


def luminance(colour: str) -> float:
    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "quiet", "good", "warn", "bad"])
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_text_can_be_read(tokens: dict[str, str], ink: str, ground: str) -> None:
    assert contrast(tokens[ink], tokens[ground]) >= 4.5


@pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=["light", "dark"])
def test_controls_can_be_seen(tokens: dict[str, str]) -> None:
    assert contrast(tokens["edge"], tokens["card"]) >= 3
    assert contrast(tokens["on-beak"], tokens["beak"]) >= 4.5


def test_both_themes_have_the_same_tokens() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_every_custom_property_in_use_is_set() -> None:
    style = (STATIC / "mynah.css").read_text() + str(bar_chart([], [], name=""))
    own = set(re.findall(r"(--[a-z-]+):", style)) | set(re.findall(r"(--[a-z-]+):", theme_css()))
    assert set(re.findall(r"var\((--[a-z-]+)", style)) <= own


def test_the_style_names_no_colour_of_its_own() -> None:
    style = (STATIC / "mynah.css").read_text()
    assert re.findall(r"#[0-9a-f]{3,8}\b(?=[;, )])", style) == []


def test_three_sizes_of_type() -> None:
    style = (STATIC / "mynah.css").read_text()
    sizes = set(re.findall(r"font-size: *(\d+)px", style)) | set(
        re.findall(r"font: *(?:\d+ )?(\d+)px", style)
    )
    assert sizes <= {"14", "16", "24"}


def test_nothing_is_fetched_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        content = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in content, path
        assert "https://" not in content, path


def test_every_room_has_its_icon_and_its_letter() -> None:
    for room in ROOMS:
        assert (STATIC / f"icon-{room.name.lower()}.svg").exists()
    assert len({room.key for room in ROOMS}) == len(ROOMS)
