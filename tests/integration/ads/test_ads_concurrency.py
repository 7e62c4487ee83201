"""The budget never goes below zero and nothing is counted twice, however many serve and click."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sqlalchemy import func, select
from tests.unit.ads.conftest import draft

from mynah.ads import AdServer, AdStore, Campaign
from mynah.ads.tables import ClickRow, ImpressionRow

Add = Callable[..., Campaign]
BUDGET_MICROS = 250_000
"""Pays for 25 clicks at the reserve price; each test clicks far more often."""


def assert_books_balance(store: AdStore, *, num_impressions: int, num_clicks: int) -> None:
    """The sums on the campaign are those of the lists; the budget is spent to the last micro."""
    (campaign,) = store.campaigns()
    with store.database.reading() as session:
        charged = session.scalar(select(func.sum(ClickRow.charged_micros)))
        assert session.scalar(select(func.count()).select_from(ClickRow)) == num_clicks
        assert session.scalar(select(func.count()).select_from(ImpressionRow)) == num_impressions
    assert campaign.num_impressions == num_impressions
    assert campaign.num_clicks == num_clicks
    assert charged == campaign.spent_micros == BUDGET_MICROS
    assert campaign.remaining_micros == 0


def test_threads_that_click_cannot_overspend(store: AdStore, server: AdServer, add: Add) -> None:
    add(budget_micros=BUDGET_MICROS)
    shown = [server.select("jobs", placement="search") for _ in range(40)]
    ids = [impression.id for impression in shown if impression]
    assert len(ids) == 40
    failed: list[BaseException] = []

    def click_all() -> None:
        try:
            for impression_id in ids:
                server.click(impression_id)
        except BaseException as error:  # a thread's failure must fail the test
            failed.append(error)
            raise

    threads = [threading.Thread(target=click_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert_books_balance(store, num_impressions=40, num_clicks=40)


def serve_and_click(database: Path, ids: list[str], num_selects: int) -> int:
    """Run in another process: show and click creatives of its own, and click those of all."""
    server = AdServer(AdStore(database))
    num_shown = 0
    for _ in range(num_selects):
        shown = server.select("jobs", placement="search")
        if shown is not None:
            num_shown += 1
            server.click(shown.id)
    for impression_id in ids:
        server.click(impression_id)
    return num_shown


def test_processes_that_serve_and_click_cannot_overspend(
    store: AdStore, server: AdServer, add: Add
) -> None:
    add(budget_micros=BUDGET_MICROS)
    shown = [server.select("jobs", placement="search") for _ in range(15)]
    ids = [impression.id for impression in shown if impression]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=spawn) as pool:
        runs = [pool.submit(serve_and_click, store.database.path, ids, 15) for _ in range(3)]
        num_shown = sum(run.result(timeout=30) for run in runs)
    assert num_shown >= 10
    assert_books_balance(store, num_impressions=15 + num_shown, num_clicks=15 + num_shown)


def open_store(database: Path) -> int:
    """Run in another process: open a database that several make at once."""
    return len(AdStore(database).campaigns())


def test_processes_may_make_the_database_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=spawn) as pool:
        runs = [pool.submit(open_store, tmp_path / "state.db") for _ in range(3)]
        assert [run.result(timeout=30) for run in runs] == [0, 0, 0]


def test_a_killed_server_leaves_whole_books(tmp_path: Path) -> None:
    database = tmp_path / "state.db"
    store = AdStore(database)
    store.add_campaign(draft(budget_micros=100_000_000))
    script = (
        "import sys; from pathlib import Path; from mynah.ads import AdServer, AdStore\n"
        "server = AdServer(AdStore(Path(sys.argv[1])))\n"
        "while True:\n"
        "    server.click(server.select('jobs', placement='search').id)\n"
        "    print('.', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(database)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    report = store.report(1)
    with store.database.reading() as session:
        charged = session.scalar(select(func.sum(ClickRow.charged_micros)))
        num_shown = session.scalar(select(func.count()).select_from(ImpressionRow))
    assert report.num_clicks >= 5
    assert (report.spent_micros, report.num_impressions) == (charged, num_shown)
    assert AdServer(store).select("jobs", placement="search") is not None
    store.close()
