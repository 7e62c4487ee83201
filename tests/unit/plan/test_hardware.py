from pathlib import Path

import pytest

from mynah.errors import ConfigError
from mynah.plan.hardware import Accelerator, accelerators, find_accelerator

OURS = """
[[accelerator]]
name = "Ours"
peak_tflops = { bfloat16 = 100 }
measured_tflops = { bfloat16 = 90 }
memory_gb = 64
memory_gb_per_s = 2000
scale_up_gb_per_s = 100
scale_up_size = 4
nic_gb_per_s = 10
num_cores = 64
power_w = 500
rental_usd_per_h = [1, 2]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "hardware.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("one", accelerators().values(), ids=lambda one: one.name)
def test_facts_are_of_a_real_machine(one: Accelerator):
    assert one.half in one.peak_tflops
    for precision, measured in one.measured_tflops.items():
        # Nothing computes faster than its datasheet, and tuned products come near it.
        assert 0.5 < measured / one.peak_tflops[precision] <= 1, precision
    # A product must be deep before computing takes longer than reading: 50 to 1,000 FLOP a byte.
    assert 50 < one.peak_tflops[one.half] * 1e3 / one.memory_gb_per_s < 1000
    assert one.scale_up_gb_per_s >= one.nic_gb_per_s
    assert 100 <= one.power_w <= 2_000
    assert one.rental_usd_per_h[0] > 0


def test_fewer_bits_are_never_slower():
    order = ("bfloat16", "float8", "float4")
    for one in accelerators().values():
        for rates in (one.peak_tflops, one.measured_tflops):
            known = [rates[name] for name in order if name in rates]
            assert known == sorted(known), one.name


def test_names_and_aliases_are_nobody_elses():
    names = [
        word.casefold() for one in accelerators().values() for word in {one.name, *one.aliases}
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["H100-SXM-80GB", "h100-sxm-80gb", "  H100 ", "h100"])
def test_an_accelerator_is_found_by_any_of_its_names(name: str):
    assert find_accelerator(name).name == "H100-SXM-80GB"


@pytest.mark.parametrize(
    ("wrong", "meant"), [("H1000", "H100-SXM-80GB"), ("A100-80", "A100"), ("b20", "B200")]
)
def test_an_unknown_name_gets_the_nearest(wrong: str, meant: str):
    with pytest.raises(ConfigError, match=repr(wrong)) as caught:
        find_accelerator(wrong)
    assert meant in str(caught.value.hint)


def test_a_name_like_no_other_gets_all_of_them():
    with pytest.raises(ConfigError) as caught:
        find_accelerator("%%%")
    assert all(name in str(caught.value.hint) for name in accelerators())


def test_ones_own_come_besides_or_instead(tmp_path: Path):
    path = write(tmp_path, OURS + OURS.replace("Ours", "H100-SXM-80GB"))
    assert find_accelerator("ours", path).memory_gb == 64
    assert find_accelerator("H100-SXM-80GB", path).memory_gb == 64
    assert find_accelerator("A100", path) == find_accelerator("A100")
    assert find_accelerator("H100-SXM-80GB").memory_gb == 80


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("memory_gb = 64", "memory_gb = -1"), "memory_gb"),
        (("memory_gb = 64", 'memory_gb = "much"'), "memory_gb"),
        (("power_w = 500", ""), "power_w"),
        (("power_w = 500", "power_w = 500\nspeed = 7"), "speed"),
        (("bfloat16 = 90", "int3 = 90"), "precisions are"),
        (("[1, 2]", "[2, 1]"), "cheapest to dearest"),
        (("scale_up_size = 4", "scale_up_size = 0"), "scale_up_size"),
        (("[[accelerator]]", "[[accelerator"), "hardware.toml"),
        (("[[accelerator]]", "[[gpu]]"), "hardware.toml"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    tmp_path: Path, change: tuple[str, str], said: str
):
    with pytest.raises(ConfigError, match=said) as caught:
        accelerators(write(tmp_path, OURS.replace(*change)))
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        accelerators(tmp_path / "none.toml")
