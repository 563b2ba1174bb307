"""The report: one file that needs nothing, shows everything, and believes nothing that it shows."""

import os
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mustherd.report import html
from mustherd.report.view import View
from mustherd.store.errors import StoreError
from mustherd.store.store import Store
from mustherd.terms import Facts
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment import physics
from tests.report.conftest import Make, book

EVIL = "<script>alert(1)</script>\"'&$x^2$\x00\u202e{{7*7}}"

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use"}


class Page(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src", "action", "data", "xlink:href") and value is not None:
                self.links.append(value)
            if name.startswith("on"):
                self.handlers.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def rendered(store: Store) -> tuple[str, Page]:
    text = html.render(View.of(store))
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link for link in page.links if not link.startswith("#")} == set()
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert page.handlers == []
    assert "script" not in page.tags
    assert "image" not in page.tags
    assert not re.search(r"url\((?!#)|@import|\bnan\b(?!o)", text)
    assert "\0" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        root = ElementTree.fromstring(svg)  # noqa: S314
        title, description = root[0], root[1]
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.text
        assert description.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert not re.search(r"#0a00[0-9a-f]{2}", svg)
    return text, page


def test_the_report_holds_everything(make: Make) -> None:
    store = make()
    text, page = rendered(store)
    words = " ".join(" ".join(page.words).split())
    # Over time, the trade-off, the knobs, what each of them matters, repeats by node.
    assert page.tags.count("svg") == 5
    assert "43.4 %" in words
    assert "# a comment that stays" in words
    assert "itr-delay 250 us, dvfs 1600 MHz uses 43.4 % less energy than" in words
    assert "600,000 requests per second" in words
    assert "E5-2650 v2" in words
    assert "muster-0 joined" in words
    assert store.experiment().versions["mustherd"] in words
    assert text.count("<tr") >= 40
    # A pointer over a mark tells the trial.
    assert "<title>trial 2, search on muster-1: itr-delay 20 us, dvfs 2000 MHz; energy 2639 J" in text


@pytest.mark.process
def test_the_report_is_written_whole_and_the_same_every_time(make: Make, tmp_path: Path) -> None:
    store = make()
    path = html.write(store)
    assert path == store.folder / "report.html"
    first = path.read_bytes()
    config = tmp_path / "config"
    config.mkdir()
    (config / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    code = (
        "import sys; from mustherd.store.store import Store; from mustherd.report import html;"
        "html.write(Store.open(sys.argv[1], True))"
    )
    environment = {**os.environ, "MPLCONFIGDIR": str(config), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(store.folder)], check=True, env=environment)
    assert path.read_bytes() == first
    assert [p.name for p in store.folder.iterdir() if p.name.startswith(".")] == []
    with pytest.raises(StoreError, match="can't be written"):
        html.write(store, tmp_path / "nowhere" / "report.html")


def test_text_from_files_and_from_the_wire_stays_text(make: Make) -> None:
    trial = physics.trial(1, TrialKind.SEARCH, {"itr-delay": 2, "dvfs": 2600, EVIL: 3}, muster=EVIL)
    other = physics.trial(2, TrialKind.SEARCH, {"itr-delay": 20, "dvfs": 2600, EVIL: 4}, muster=EVIL)
    bad = physics.trial(3, TrialKind.SEARCH, {"itr-delay": 20, "dvfs": 2600}, state=TrialState.INVALID, reason=EVIL)
    bad.detail = EVIL
    resolved: dict[str, Any] = {"search": {"method": EVIL}, "gates": {EVIL: EVIL}}
    store = make(name=EVIL, trials=[trial, other, bad], resolved=resolved, definition=EVIL)
    store.set_muster(EVIL, state=EVIL, facts=Facts(kind=EVIL, text={EVIL: EVIL}))
    store.event(EVIL, EVIL)
    text, page = rendered(store)
    assert "alert(1)" in "".join(page.words)
    assert "<script" not in text
    assert "{{7*7}}" in text
    assert "\u202e" not in text


@pytest.mark.long
@pytest.mark.parametrize("what", ["nothing", "baseline", "spoilt", "infeasible", "no-limits", "not-a-number"])
def test_experiments_that_went_otherwise(make: Make, spoilt: list[Trial], what: str) -> None:
    resolved: dict[str, Any] = {}
    trials: list[Trial] = []
    match what:
        case "baseline":
            trials = [physics.trial(1, TrialKind.BASELINE, {})]
        case "spoilt":
            trials = spoilt
        case "infeasible":
            trials = physics.experiment(limit=50.0)
            resolved = {"constraints": ["read_p99_us <= 50"]}
        case "no-limits":
            trials = physics.experiment(searches=6)
            resolved = {"constraints": [], "gates": {"achieved_ratio": 0}, "objective": "read_p99_us"}
        case "not-a-number":
            trials = physics.experiment(searches=6)
            for one in trials[::2]:
                one.metrics = {**one.metrics, "read_p99_us": float("nan"), "energy_joules": float("inf")}
    for done in (False, True):
        store = make(name=f"{what}-{done}", trials=trials, resolved=resolved, done=done)
        _, page = rendered(store)
        assert ("so far: " in " ".join(page.words)) is (not done and what != "nothing")


def test_spaces_of_other_shapes(make: Make) -> None:
    one = [physics.trial(n, TrialKind.SEARCH, {"itr-delay": v}) for n, v in enumerate((2, 100, 200, 300, 400, 300), 1)]
    _, page = rendered(make("one", trials=one, resolved={"knobs": {"itr-delay": [2, 100, 200, 300, 400]}}))
    assert page.tags.count("svg") == 3

    three = physics.experiment(searches=20)
    for trial in three:
        if trial.kind is TrialKind.SEARCH:
            trial.settings["rapl-limit"] = 60 + trial.number % 2
    text, _ = rendered(make("three", trials=three))
    assert "Each cell has the best over rapl-limit." in text

    wide = [physics.trial(n, TrialKind.SEARCH, {"itr-delay": 2 * n, "dvfs": 1200 + 10 * n}) for n in range(1, 40)]
    ranges = {"itr-delay": {"low": 2, "high": 400, "step": 2}, "dvfs": {"low": 1200, "high": 2600, "step": 10}}
    text, _ = rendered(make("wide", trials=wide, resolved={"knobs": ranges}))
    assert "39 trials by itr-delay and dvfs, darker is less" in text

    still = [physics.trial(n, TrialKind.SEARCH, {"itr-delay": 2, "dvfs": 1200}) for n in (1, 2)]
    _, page = rendered(make("still", trials=still))
    assert page.tags.count("svg") == 2


def test_a_long_journal_is_cut_and_says_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MOST_EVENTS", 5)
    store = make(trials=[])
    for index in range(10):
        store.event("note", f"line {index}")
    text, _ = rendered(store)
    assert "6 earlier lines are in the store" in text
    assert "line 9" in text
    assert "line 4" not in text


def test_where_log_rows_went_is_told_with_the_reasons(make: Make, spoilt: list[Trial]) -> None:
    store = make(trials=spoilt, done=False)
    assert "log rows" not in rendered(store)[1].words
    book(store)
    words = " ".join(" ".join(rendered(store)[1].words).split())
    assert "190 12 (buffer-full 5, gap 7) invalid: knob-not-held" in words


def test_a_long_experiment_is_folded_filtered_and_small(make: Make) -> None:
    trials = many(900)
    text, page = rendered(make(trials=trials))
    assert page.tags.count("details") == -(-len(trials) // html.ROWS_TOGETHER)
    assert page.tags.count("tr") >= len(trials), "every trial is in the page"
    for css in ("keeps", "breaks", "default"):
        assert f'<tr class="{css}">' in text
        assert f'value="{css}"' in text
    # Marks of a kind are one path, but for the best's; each picture has its own title.
    assert page.tags.count("title") <= 12
    assert len(text.encode()) < 1500 * len(trials)


def test_a_short_experiment_has_a_hint_for_each_mark_and_nothing_folded(make: Make) -> None:
    _, page = rendered(make())
    assert page.tags.count("details") == 0
    assert page.tags.count("title") > 60


def many(count: int) -> list[Trial]:
    """Trials over the whole space, every tenth of them the default."""
    draw = random.Random(1)
    return [
        physics.trial(number, TrialKind.BASELINE, {}, draw)
        if number % 10 == 1
        else physics.trial(
            number,
            TrialKind.SEARCH,
            {"itr-delay": draw.randrange(2, 401, 2), "dvfs": draw.choice(physics.CLOCKS)},
            draw,
        )
        for number in range(1, count + 1)
    ]
