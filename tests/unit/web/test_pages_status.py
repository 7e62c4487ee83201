import time
from datetime import datetime
from pathlib import Path

import pytest

from mynah.ads import AdServer, AdStore
from mynah.chat import Assistant
from mynah.serve import EnginePool
from mynah.web import House, KeyStore, Stage
from mynah.web.status import failed_stage, model_status, stage_line
from mynah.workspace import Workspace


@pytest.fixture
def house(tmp_path: Path):
    workspace = Workspace(tmp_path / "town")
    pool, store = EnginePool(), AdStore(workspace.state_db)
    keys = KeyStore(workspace.state_db)
    yield House(
        workspace=workspace,
        pool=pool,
        ad_store=store,
        ad_server=AdServer(store),
        keys=keys,
        assistant=Assistant(pool, lambda: None),
    )
    keys.close()
    store.close()


def running(name: str, *, title: str = "", done: float = 0, elapsed_s: float = 0) -> Stage:
    started = time.monotonic() - elapsed_s
    return Stage(name, title, "running", done=done, total=100, started_s=started)


def test_before_any_model_the_line_says_what_goes_on(house: House) -> None:
    assert model_status(house).line == "no model yet"
    house.stages = [running("read")]
    status = model_status(house)
    assert status.line == "no model yet \u00b7 reading posts"
    assert status.is_live


def test_training_says_how_long_it_takes(house: House) -> None:
    house.stages = [running("train", done=50, elapsed_s=120)]
    assert model_status(house).line == "no model yet \u00b7 training, 2 min left"


def test_a_stage_that_is_new_says_its_title(house: House) -> None:
    house.stages = [running("audit", title="Look for leaks")]
    assert model_status(house).doing == "look for leaks"


def test_the_trained_model_says_since_when(house: House) -> None:
    house.trained_at = time.time()
    status = model_status(house)
    assert status.line == f"trained {datetime.fromtimestamp(house.trained_at):%H:%M}"
    assert not status.is_live
    house.trained_at -= 10 * 86_400
    assert ", " in model_status(house).line


def test_the_failed_stage_is_found(house: House) -> None:
    assert failed_stage(house) is None
    house.stages = [Stage("read", "Read", "done"), Stage("base", "Load", "failed")]
    assert failed_stage(house) is house.stages[1]


def test_each_state_has_its_line() -> None:
    assert stage_line(Stage("a", "A")) == "waits for its turn"
    assert stage_line(Stage("a", "A", "done", seconds=75)) == "done in 1 min"
    assert stage_line(Stage("a", "A", "done", note="6 posts")) == "6 posts"
    assert stage_line(Stage("a", "A", "skipped")) == "already there"
    assert stage_line(Stage("a", "A", "failed", note="error: x")) == "stopped"
    assert stage_line(running("a", done=50, elapsed_s=30)) == "running \u00b7 30 s, 30 s left"
