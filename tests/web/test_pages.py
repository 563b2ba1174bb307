"""Report, comparison and live page in a real browser: no fault that axe-core finds, at any width, light and dark.

Needs chromium and axe-core, which `make test-web` fetches; the pictures are left in $WEB_PICTURES.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mustherd.report import compare_page, html
from mustherd.report.state import experiment_state
from mustherd.report.view import View
from mustherd.report.web import Server, Site, live_page
from mustherd.trial import Trial
from tests.report.conftest import Make, make
from tests.report.test_story import at_loads, policy, unplanned, windows
from tests.web.browser import Stage, examine, photograph

__all__ = ["make"]

pytestmark = pytest.mark.web

AXE = Path(os.environ.get("AXE", "build/axe/package/axe.min.js"))

LOOKS = [(360, False), (1280, True)]
"""Width and whether it is dark: each width and each scheme once."""
ALL_LOOKS = [(360, False), (360, True), (1280, False), (1280, True)]
"""Of the pages that people look at most."""
REPORTS = [("search", *look) for look in ALL_LOOKS] + [(kind, *look) for kind in ("loads", "follow") for look in LOOKS]


def fault_free(page: Callable[[], str], tmp_path: Path, name: str, width: int, dark: bool, **options: object) -> str:
    stage = Stage(AXE, width, page, **options)  # type: ignore[arg-type]
    found = examine(stage, tmp_path / "chromium", dark=dark)
    if pictures := os.environ.get("WEB_PICTURES"):
        to = Path(pictures).resolve() / f"{name}-{width}-{'dark' if dark else 'light'}.png"
        photograph(Stage(AXE, width, page, **options), to, tmp_path / "chromium", found["high"], dark=dark)  # type: ignore[arg-type]
    assert "error" not in found, found
    assert found["violations"] == []
    assert found["passes"] > 10
    assert found["letters"] == [], "cells of a letter a line"
    assert (found["window"], found["dark"]) == (width, dark)
    assert found["wide"] <= width, "the page is wider than its window"
    return str(found["text"])


@pytest.mark.parametrize(("kind", "width", "dark"), REPORTS)
def test_reports(make: Make, tmp_path: Path, kind: str, width: int, dark: bool) -> None:
    trials: list[Trial] | None = None
    if kind == "loads":
        trials = [*at_loads(200e3, 0.5, 0), *at_loads(600e3, 1.0, 100)]
    elif kind == "follow":
        trials = windows()
    store = make(kind, trials, policy("follow") if kind == "follow" else None)
    page = html.render(View.of(unplanned(store) if kind == "follow" else store))
    said = fault_free(lambda: page, tmp_path, kind, width, dark)
    assert kind in said


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_a_comparison(make: Make, tmp_path: Path, width: int, dark: bool) -> None:
    views = [
        View.of(unplanned(make("follow", windows(joules=0.8), policy("follow")))),
        View.of(unplanned(make("as-found", windows(follows=False), policy("nop")))),
    ]
    page = compare_page.render(views)
    assert "less energy than as-found" in fault_free(lambda: page, tmp_path, "compared", width, dark)


@pytest.mark.parametrize(("width", "dark"), ALL_LOOKS)
def test_the_live_page(make: Make, tmp_path: Path, width: int, dark: bool) -> None:
    store = make("watched", done=False)
    site = Site(lambda: experiment_state(View.of(store)))
    with Server(site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            host, port = server.server_address[:2]
            behind = f"http://{host!s}:{port}"
            raw = live_page("")
            said = fault_free(lambda: raw, tmp_path, "live", width, dark, behind=behind, wait_ms=3000)
        finally:
            server.shutdown()
            thread.join()
    for words in ("watched", "of 46 trials", "itr-delay 250 us, dvfs 1600 MHz", "muster-0", "muster-0 joined"):
        assert words in said, words
