"""`mynah record` as a shell sees it: what it says, its exit codes, its JSON."""

import json
import signal

import pytest

from mynah.cli import main
from mynah.cli.record_arguments import time_us_of, vkeys_of
from mynah.cli.record_compute import compute_lines, compute_values
from mynah.errors import ConfigError
from mynah.record.envelopes import seal
from mynah.record.identity import Identity
from mynah.record.notes import COSIGNER
from mynah.record.record import Record
from mynah.record.statements import ParentModel, Progress, RunDeclared
from mynah.record.thresholds import THRESHOLDS
from mynah.workspace import Workspace

SHA = "ab" * 32


@pytest.fixture(autouse=True)
def keys(tmp_path, monkeypatch):
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


@pytest.fixture
def run(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def run_main(*arguments):
        monkeypatch.setattr("sys.argv", ["mynah", "record", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    yield run_main
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def workspace(tmp_path):
    place = Workspace(tmp_path / "network")
    place.create()
    return place.root


def declared(run="r1", *, planned="1000000", parents=()):
    return RunDeclared(
        run=run,
        model=f"model-{run}",
        recipe=SHA,
        corpus=SHA,
        objective="pretrain",
        parents=parents,
        planned_flop=planned,
        planned_basis="steps",
        pool="local",
        device="cpu",
        num_devices=1,
        peak_flop_per_s="1000000000",
    )


def progress(run="r1", *, flop="500000"):
    return Progress(run=run, recipe=SHA, step=1, flop=flop, device_s="36.000", tokens=10)


PAUSE = ("--above", "1e3", "--until", "2040-01-01", "--reason", "until audited", "--yes")


def test_who_we_are_is_said_and_may_be_named_before_the_first_log(run, workspace, keys):
    code, out, _ = run("key", "--name", "heron.example", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["name"] == "heron.example"
    assert found["vkey"].startswith("heron.example+")
    assert found["keys"] == str(keys)
    assert run("key", "--vkey")[1] == found["vkey"] + "\n"
    assert run("key", "--pem")[1].startswith("-----BEGIN PUBLIC KEY-----")
    Record.open(workspace)
    assert run("key", workspace, "--vkey")[1].startswith("heron.example/network-")
    code, _, err = run("key", "--name", "stork.example")
    assert code == 2
    assert "signed as heron.example already" in err


def test_a_workspace_without_a_record_says_so(run, workspace, tmp_path):
    code, out, err = run("show", workspace)
    assert (code, out) == (2, "")
    assert "has no record yet" in err
    assert "is no workspace" in run("show", tmp_path / "gone")[2]


def test_the_last_leaves_are_shown_in_words(run, workspace):
    record = Record.open(workspace)
    record.write_many([declared(), *(progress(flop=str(n)) for n in range(1, 31))])
    code, out, _ = run("show", workspace, "--limit", "2")
    assert code == 0
    assert str(record.key) in out
    assert "30 progress" in out
    assert len([line for line in out.splitlines() if "Run r1 is at step" in line]) == 2
    _, out, _ = run("show", workspace, "--kind", "run-declared", "--json")
    shown = json.loads(out)
    assert [leaf["index"] for leaf in shown["leaves"]] == [0]
    assert shown["leaves"][0]["body"]["run"] == "r1"
    assert shown["counts"] == {"progress": 30, "run-declared": 1}
    assert run("show", workspace, "--kind", "gossip")[0] == 2


def test_compute_lists_runs_pools_and_thresholds(run, workspace):
    record = Record.open(workspace)
    record.write_many([declared(), progress()])
    code, out, _ = run("compute", workspace)
    assert code == 0
    assert "r1   begun  5.00e5   1.00e6   5.00e5   0.0100        local" in out
    assert "GPT-4 class" in out
    assert "times below" in out
    values = json.loads(run("compute", workspace, "--json")[1])
    assert values["runs"][0]["lineage_flop"] == "500000"
    assert values["pools"][0]["device_s"] == "36"


def test_a_run_past_a_threshold_is_named_and_an_unknown_lineage_is_not_guessed(workspace):
    record = Record.open(workspace)
    unknown = ParentModel(name="found", digest="cd" * 32, flop="", basis="nobody said")
    record.write_many(
        [
            declared(planned="9" + "0" * 25),
            progress(flop="3" + "0" * 25),
            declared("r2", parents=(unknown,)),
        ]
    )
    lines = "\n".join(compute_lines(record.register(), THRESHOLDS))
    assert "GPT-4 class: crossed by r1" in lines
    assert "frontier model (California): near: " in lines
    assert "unknown: r2" in lines
    bar = next(line for line in lines.splitlines() if line.startswith("r1  #"))
    assert "#-" in bar
    r2 = compute_values(record.register(), THRESHOLDS)["runs"][1]
    assert r2["lineage_flop"] is None
    assert r2["thresholds_crossed"] == []


def test_thresholds_come_from_the_settings(run, workspace):
    Record.open(workspace).write(declared())
    (workspace / "mynah.toml").write_text(
        '[record.thresholds.ours]\nflop = "1e9"\nsource = "our board"\n'
    )
    out = run("compute", workspace)[1]
    assert "1.00e9  ours" in out
    assert "GPT-4" not in out


@pytest.mark.parametrize("spelled", [(), ("order",)], ids=["pause", "pause order"])
def test_a_pause_is_ordered_with_and_without_its_verb(run, workspace, tmp_path, spelled):
    code, out, _ = run("pause", *spelled, workspace, *PAUSE, "--out", tmp_path / "o", "--json")
    assert code == 0
    order = json.loads(out)
    assert order["above_flop"] == "1000"
    assert order["until"] == "2040-01-01T00:00:00.000000Z"
    assert order["missing"] == []
    assert (tmp_path / "o").read_text() == order["envelope"]
    assert order["order"] in Record.open(workspace).register().orders


def test_pause_status_is_a_verb_and_not_a_workspace(run, workspace):
    assert run("pause", workspace, *PAUSE)[0] == 0
    code, out, _ = run("pause", "status", workspace)
    assert code == 0
    assert "above 1.00e3 FLOP" in out
    assert "  kept " in out
    assert json.loads(run("pause", "status", workspace, "--json")[1])["is_kept"] is True


def test_a_pause_asks_before_it_binds_and_says_what_stops(run, workspace, monkeypatch):
    Record.open(workspace).write_many([declared("big"), declared("small", planned="10")])
    code, _, err = run("pause", workspace, *PAUSE[:-1])
    assert code == 2
    assert "--yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    code, out, err = run("pause", workspace, *PAUSE[:-1])
    assert (code, out) == (1, "")
    assert "This stops big." in err
    assert not Record.open(workspace).register().orders


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--above", "lots"), "no amount of FLOP"),
        (("--above", "1.5"), "not a whole number"),
        (("--until", "tomorrow"), "no day and no time"),
        (("--until", "2040-13-01"), "no day and no time"),
        (("--until", "2020-01-01"), "would have ended already"),
        (("--cosign", "nobody"), "no vkey and no file"),
        (("--timekeeper", "nobody=http://127.0.0.1"), "no vkey and no file"),
        (("--reason", "a\nb"), "cannot say reason"),
        (("--begins", "2041-01-01"), "not after it begins"),
    ],
)
def test_a_wrong_term_is_two_lines_and_orders_nothing(run, workspace, changed, said):
    code, out, err = run("pause", workspace, *PAUSE, *changed)
    assert code in (2, 3)
    assert out == ""
    assert said in err
    assert err.splitlines()[1].startswith("hint: ")
    assert not Record.open(workspace).register().orders


def test_a_witness_is_no_party_and_a_party_no_witness(run, workspace):
    key = Identity.open().key
    code, _, err = run("pause", workspace, *PAUSE, "--cosign", key.verifier(COSIGNER))
    assert code == 2
    assert "not of an organisation" in err
    code, _, err = run("pause", workspace, *PAUSE, "--timekeeper", key.verifier())
    assert code == 2
    assert "is no witness" in err


def test_resume_says_no_before_the_day_and_yes_to_a_release(run, workspace, tmp_path):
    order, agreed = tmp_path / "order.json", tmp_path / "release.json"
    run("pause", workspace, *PAUSE, "--out", order)
    code, out, err = run("resume", workspace, order)
    assert (code, out) == (1, "")
    assert "stands until 2040-01-01" in err
    said = ("--reason", "audited", "--out", agreed, "--yes")
    assert run("release", workspace, order, *said)[0] == 0
    code, out, _ = run("resume", workspace, order, "--release", agreed)
    assert code == 0
    assert "is over: all who signed it agree" in out
    assert "lifted" in run("pause", "status", workspace)[1]
    assert run("resume", workspace, order, "--release", agreed)[0] == 1


def test_an_order_nobody_knows_is_the_callers_mistake(run, workspace, tmp_path):
    Record.open(workspace)
    assert run("resume", workspace, "abcdef")[0] == 2
    assert run("resume", workspace, tmp_path / "gone.json")[0] == 2
    (tmp_path / "junk").write_bytes(seal(b"no JSON", Identity.open().key))
    assert "no order and no release" in run("cosign", workspace, tmp_path / "junk", "--yes")[2]
    (tmp_path / "junk").write_text("{}")
    code, _, err = run("cosign", workspace, tmp_path / "junk", "--yes")
    assert code == 3
    assert "no DSSE envelope" in err


@pytest.mark.parametrize(
    "arguments", [["nowhere"], [".", "--policy", "gone"], [".", "--known", "gone"]]
)
def test_what_cannot_be_read_is_no_verdict(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("verify", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_a_witness_is_made_once_and_wants_a_log_to_watch(run, tmp_path):
    name = ("--init", "--name", "stork.example/witness")
    code, out, _ = run("witness", tmp_path / "w", *name)
    assert code == 0
    assert out.startswith("stork.example/witness+")
    assert run("witness", tmp_path / "w", *name)[0] == 2
    code, _, err = run("witness", tmp_path / "w")
    assert code == 2
    assert "knows no log" in err
    assert run("witness", tmp_path / "x", "--init")[0] == 2


def test_without_a_policy_nobody_is_asked_to_cosign(run, workspace):
    Record.open(workspace)
    code, _, err = run("witnessed", workspace)
    assert code == 2
    assert "witness NAME VKEY URL" in err
    assert run("refresh", workspace)[0] == 2


def test_a_model_that_no_run_made_has_no_bill_of_materials(run, workspace):
    Record.open(workspace)
    code, out, err = run("bom", workspace, "gone")
    assert out == ""
    assert code in (2, 3)
    assert "no model of this record" in err


def test_days_and_moments_are_utc():
    assert time_us_of("1970-01-02") == 86_400_000_000
    assert time_us_of("1970-01-01T00:00:01.5Z") == 1_500_000
    for wrong in ("1970-01-01T00:00:00", "01.01.2030", "2030-02-30", ""):
        with pytest.raises(ConfigError):
            time_us_of(wrong)


def test_vkeys_are_given_as_they_are_or_in_a_file(tmp_path):
    vkey = str(Identity.open(tmp_path / "k").key.verifier())
    (tmp_path / "keys.txt").write_text(f"{vkey}\n\n")
    assert vkeys_of(vkey) == vkeys_of(str(tmp_path / "keys.txt")) == [vkey]
