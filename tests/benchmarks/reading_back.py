"""How long it takes to look at an experiment of 30, 300 and 3,000 trials: its report, `show`, `list`, `compare`.

Seconds of processor time within one process that has imported everything, and the report's size; beside them how both
grow from 300 trials to 3,000. The trials are made up (tests/experiment/physics.py) and lie in the store as any do.
"""

import io
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

import mustherd.api
from mustherd.experiment.verdict import decide
from mustherd.report import compare, frame, html, json, table
from mustherd.report.view import View
from mustherd.store.store import Store
from mustherd.terms import Facts
from mustherd.trial import Trial, TrialKind
from tests.experiment import physics

SIZES = (30, 300, 3000)
LIMIT_S = 5.0
LIMIT_BYTES = 3_000_000
LIMIT_GROWTH = 12.0
"""Ten times the trials may cost this many times as much."""
DEFINITION = "name: reading-back\nobjective: energy_joules\nconstraints: [read_p99_us <= 500]\n"


def run() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as parent:
        look(folder_of(Path(parent), 10))  # what is imported at the first look
        rows = {size: look(folder_of(Path(parent), size)) for size in SIZES}
    growth = {name: round(rows[3000][name] / rows[300][name], 2) for name in rows[3000]}
    slow = [name for name, seconds in rows[3000].items() if name.endswith("_s") and seconds > LIMIT_S]
    return {
        "trials": rows,
        "growth_300_to_3000": growth,
        "limit_s": LIMIT_S,
        "limit_report_bytes": LIMIT_BYTES,
        "limit_growth": LIMIT_GROWTH,
        "within_limit": not slow and rows[3000]["report_bytes"] <= LIMIT_BYTES and max(growth.values()) <= LIMIT_GROWTH,
    }


def look(folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        began = time.process_time()
        answer = call()
        found[f"{name}_s"] = round(time.process_time() - began, 3)
        return answer

    quiet = Console(file=io.StringIO(), width=120)
    with Store.open(folder, read_only=True) as store:
        page = timed("report", lambda: html.render(View.of(store)))

        def show() -> None:
            view = View.of(store)
            json.show_form(view)
            frame.emit(quiet, table.verdict_panel(view, quiet), table.trials_table(view, quiet))

        timed("show", show)
        timed("compare", lambda: compare.compare([View.of(store), View.of(store)]))
    parent = folder.parent
    timed("list", lambda: frame.emit(quiet, table.experiments_table(mustherd.api.list_experiments(parent), quiet)))
    return found | {"report_bytes": len(page.encode())}


def folder_of(parent: Path, count: int) -> Path:
    """An experiment of `count` finished search trials, baselines among them, with its verdict."""
    draw = random.Random(count)
    resolved = physics.resolved("reading-back", trials=count, repeats=0)
    folder = parent / f"of-{count}"
    with Store.create(
        folder,
        name="reading-back",
        definition=DEFINITION,
        resolved=resolved,
        digest="d" * 64,
        goal=physics.goal_of(resolved),
    ) as store:
        store.set_muster("muster-0", state="alive", facts=Facts(kind="twin", cpu="x", cores=16), knobs=physics.KNOBS)
        store.set_status("running")
        trials: list[Trial] = []
        for number in range(1, count + 1):
            baseline = number % 10 == 1
            settings = {} if baseline else {"itr-delay": draw.randrange(2, 401, 2), "dvfs": draw.choice(physics.CLOCKS)}
            kind = TrialKind.BASELINE if baseline else TrialKind.SEARCH
            trials.append(physics.trial(number, kind, settings, draw))
        physics.fill(store, trials)
        verdict = decide(store.trials(), physics.goal_of(resolved), physics.KNOBS)
        store.set_verdict(msgspec.to_builtins(verdict))
        store.set_status("done")
    return folder
