"""Tables for a terminal: colour and lines where there is one, plain aligned text where the output is piped."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mustherd import metrics
from mustherd.definition.units import duration
from mustherd.experiment import wording
from mustherd.experiment.verdict import Side, Verdict
from mustherd.goal import GUARD
from mustherd.report import labels
from mustherd.report.frame import is_plain, new_table
from mustherd.report.labels import clean
from mustherd.report.side_by_side import compare_lines
from mustherd.report.view import View
from mustherd.rowlog.accounting import RowAccounting
from mustherd.store.catalog import Summary
from mustherd.trial import Trial, TrialKind, TrialState

KIND_STYLES = {TrialKind.BASELINE: "cyan", TrialKind.SEARCH: "", TrialKind.CONFIRM: "magenta"}

SIGNS = {"best": "★", "keeps": "✓", "breaks": "✗", "running": "▶"}
"""Where any character can be shown: of the best, of what keeps the limits or breaks them, of what runs."""

STATUS_STYLES = {
    "running": "bold cyan",
    "done": "green",
    "stopped": "yellow",
    "interrupted": "yellow",
    "failed": "red",
    "broken": "red",
}


def is_narrow(console: Console) -> bool:
    """Whether a window is too narrow for everything."""
    return not is_plain(console) and console.width < 90


def marks(console: Console) -> Mapping[str, str]:
    """Signs for the best, for what keeps the limits and for what breaks them; ASCII where the output may need it."""
    if is_plain(console) or not (console.encoding or "").lower().startswith("utf"):
        return {"best": "*", "keeps": "ok", "breaks": "over limit:", "running": ">", "bar": "#", "rest": "."}
    return {**SIGNS, "bar": "━", "rest": "━"}


def trials_table(view: View, console: Console, trials: Sequence[Trial] | None = None, *, cut: bool = False) -> Table:
    """Attempts, a row each: what was set, what was measured, what it's worth. `trials` None: all that have begun.

    With `cut` every row is one line high, whatever is lost by that.
    """
    rows = view.begun if trials is None else trials
    table = new_table(console)
    plain = is_plain(console)
    signs = marks(console)
    best = view.winners()
    table.add_column("trial", justify="right", no_wrap=True)
    with_kind = plain or console.width >= 72
    if with_kind:
        table.add_column("kind", no_wrap=True)
    with_muster = not is_narrow(console) and len({t.muster for t in view.trials if t.muster}) > 1
    if with_muster:
        table.add_column("muster", no_wrap=True, overflow="ellipsis", max_width=24)
    keys, names = view.knob_keys(), view.metrics()
    places = {name: labels.decimals(name, [t.metrics[name] for t in rows if name in t.metrics]) for name in names}
    for key in keys:
        table.add_column(_title(clean(key), _knob_unit(key, view), plain), justify="right", no_wrap=True)
    for name in names:
        table.add_column(_title(_short(name), metrics.of(name).shown_unit, plain), justify="right", no_wrap=True)
    with_rows = bool(view.logged) and not is_narrow(console)
    if with_rows:
        for name in ("written", "lost"):
            table.add_column(_title(name, "rows", plain), justify="right", no_wrap=True)
    # The last column is the one to be cut where the window is too narrow.
    table.add_column("result", min_width=8)
    for trial in rows:
        style = KIND_STYLES[trial.kind] if trial.state is TrialState.FINISHED else ""
        cells: list[Text | str] = [number_of(trial)]
        if with_kind:
            cells.append(Text(kind_of(trial, view), style))
        if with_muster:
            cells.append(Text(clean(trial.muster)))
        cells += [Text(_knob_value(trial, key, view)) for key in keys]
        broken = {c.metric for c in view.broken(trial)} if trial.state is TrialState.FINISHED else set()
        cells += [
            Text(labels.aligned(name, trial.metrics.get(name), places[name]), "red" if name in broken else "")
            for name in names
        ]
        if with_rows:
            cells += log_cells(view.account(trial))
        result = result_of(trial, view, signs, best)
        result.no_wrap, result.overflow = cut, "ellipsis"
        cells.append(result)
        row_style = "bold green" if any(trial is one for one in best) else "dim" if _is_void(trial) else ""
        table.add_row(*cells, style=row_style)
    return table


def log_cells(account: RowAccounting | None) -> tuple[str, str]:
    """A trial's log rows: those written, and those lost at the source."""
    return ("", "") if account is None else (str(account.written), str(account.rows_lost))


def kind_of(trial: Trial, view: View) -> str:
    """What a trial is called: a policy that compares nothing has no search, only windows."""
    return trial.kind.value if view.compares else "window"


def _is_void(trial: Trial) -> bool:
    return trial.state in (TrialState.INVALID, TrialState.FAILED)


def _title(name: str, unit: str, plain: bool) -> Text:
    """A column's title; in a window the unit stands below the name, so that the column may be narrow."""
    return Text(f"{name} {unit}".strip() if plain else f"{name}\n{unit}")


def _knob_unit(key: str, view: View) -> str:
    return next((clean(k.unit) for k in view.knobs if k.name == key.partition("@")[0]), "")


def _knob_value(trial: Trial, key: str, view: View) -> str:
    if key not in trial.settings:
        # What the node was left at, as far as it says so.
        name, _, sheep = key.partition("@")
        found = {r.applied for r in trial.readings if r.knob == name and sheep in ("", r.sheep)}
        value = found.pop() if len(found) == 1 else None
        return "" if value is None else f"({_spoken(key, value, view)})"
    return _spoken(key, trial.settings[key], view)


def _spoken(key: str, value: int, view: View) -> str:
    named = wording.value(key, value, view.knobs)
    # The unit stands in the column's title.
    return str(value) if named.startswith(str(value)) else clean(named)


def number_of(trial: Trial) -> str:
    """`7`, or `7-2` for its second attempt."""
    return str(trial.number) if trial.attempt == 1 else f"{trial.number}-{trial.attempt}"


def result_of(trial: Trial, view: View, signs: Mapping[str, str], best: Sequence[Trial]) -> Text:
    """What a trial is worth, in a word or two."""
    if trial.state is TrialState.RUNNING:
        return Text(f"{signs['running']} running", "cyan")
    if trial.state is TrialState.QUEUED:
        return Text("queued", "dim")
    if _is_void(trial):
        said = f"{trial.state.value}: {trial.reason}" if trial.reason else trial.state.value
        return Text(clean(said), "yellow" if trial.state is TrialState.INVALID else "red")
    if view.of_default(trial):
        return Text("default", "cyan")
    if any(trial is one for one in best):
        return Text(f"{signs['best']} best", "bold green")
    broken = view.broken(trial)
    if broken:
        return Text(f"{signs['breaks']} {', '.join(_short(c.metric) for c in broken)}", "red")
    return Text(signs["keeps"], "green")


def _short(metric: str) -> str:
    return "load" if metric == GUARD else metrics.of(metric).label


def experiments_table(summaries: Iterable[Summary], console: Console) -> Table:
    """Experiments, a row each."""
    table = new_table(console)
    narrow = is_narrow(console)
    for name in ("experiment", "status", "trials", "verdict", "saving", *(() if narrow else ("began", "took"))):
        table.add_column(name, justify="right" if name in ("trials", "saving", "took") else "left", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for one in summaries:
        finished = one.trials.get("finished", 0)
        row = [
            Text(clean(one.name)),
            Text(one.status, STATUS_STYLES.get(one.status, "")),
            # A confirmation may take more than what was planned.
            Text(
                f"{finished}/{one.planned}" if one.planned >= max(1, finished) else str(finished) if one.trials else ""
            ),
            Text(one.verdict or "", _verdict_style(one.verdict)),
            Text(_improvement(one)),
        ]
        if not narrow:
            row.append(Text(labels.clock(one.created_at, seconds=False)))
            row.append(Text(duration(one.wall_seconds) if one.wall_seconds else ""))
        # A broken one has nothing else to show than what is wrong with it, which names its folder.
        row.append(Text(clean(one.detail), "red") if one.status == "broken" else Text(clean(one.folder)))
        table.add_row(*row)
    return table


def _improvement(one: Summary) -> str:
    """What was saved; what was gained is told apart, since the column is about savings."""
    text = "" if one.saving_percent is None else labels.percent(one.saving_percent)
    return f"gain {text}" if text and one.sense == "most" else text


def _verdict_style(verdict: str | None) -> str:
    return {"met": "bold green", "not met": "bold yellow", "not certain": "bold cyan"}.get(verdict or "", "")


def verdict_table(view: View, console: Console) -> Table:
    """The default and the best side by side, metric by metric."""
    found = view.verdict()
    table = new_table(console)
    table.add_column("")
    table.add_column("default", justify="right")
    table.add_column(view.lead.column, justify="right")
    table.add_column("limit", justify="right")
    default, best = found.default, found.best or found.closest
    for key in dict.fromkeys([*(best.knobs if best else ()), *(default.knobs if default else ())]):
        table.add_row(Text(clean(key)), *(_side_knob(side, key, view) for side in (default, best)), "")
    limits = {c.metric: wording.limit(c).removeprefix(f"{c.metric} ") for c in view.goal.constraints}
    for name in view.metrics():
        limit = limits.get(name, "")
        if name == GUARD and limit:
            sign, _, value = limit.partition(" ")
            limit = f"{sign} {labels.quantity(name, float(value))}"
        table.add_row(metrics.of(name).title, *(side_value(side, name) for side in (default, best)), limit)
    table.add_row("trials", *(str(side.n) if side else "" for side in (default, best)), "")
    return table


def _side_knob(side: Side | None, key: str, view: View) -> Text:
    if side is None or key not in side.knobs:
        return Text("as found" if side and not side.knobs else "", "dim")
    return Text(clean(wording.value(key, side.knobs[key], view.knobs)))


def side_value(side: Side | None, name: str) -> str:
    """A mean with the half-width of its 95 % interval where there is one."""
    if side is None:
        return ""
    text = labels.amount(name, side.metrics.get(name))
    return text if name == GUARD else text + labels.plus_minus(side.intervals.get(name))


def verdict_panel(view: View, console: Console) -> RenderableType:
    """The verdict: its sentence, the two sides, and what it rests on."""
    found = view.verdict()
    if not view.begun:
        return Text("no trial has begun")
    if found.loads:
        return _loads_panel(view, found, console)
    sentence = Text(clean(found.reason))
    # The sentence begins with the verdict.
    sentence.stylize(_verdict_style(found.verdict), 0, len(found.verdict))
    today = _today(view)
    if not (found.best or found.default or found.closest):
        # Nothing was compared: there are no sides.
        return Group(sentence, Text(based_on(view, found), "" if is_plain(console) else "dim"))
    if is_plain(console):
        return Group(sentence, *today, Text(""), verdict_table(view, console), Text(clean(found.baseline)))
    return Group(
        sentence, *today, Padding(verdict_table(view, console), (0, 0, 0, 2)), Text(based_on(view, found), "dim")
    )


def _today(view: View) -> list[Text]:
    """The line that what is announced is for today; none where it isn't."""
    return [Text(clean(view.today))] if view.today else []


def _loads_panel(view: View, found: Verdict, console: Console) -> RenderableType:
    """The verdict over several loads: its sentence and the settings for each."""
    sentence = Text(clean(found.reason))
    sentence.stylize(_verdict_style(found.verdict), 0, len(found.verdict))
    today = _today(view)
    return Group(sentence, *today, Text(""), loads_table(view, console), Text(based_on(view, found), "dim"))


def loads_table(view: View, console: Console) -> Table:
    """Settings by load: what is announced at each, and what it saves."""
    table = new_table(console)
    names = view.metrics()
    better = view.goal.objectives[0].direction.improvement
    for name in (
        "load (qps)",
        "verdict",
        "settings",
        *(metrics.of(name).title for name in names),
        better,
        "95 % interval",
    ):
        table.add_column(name, justify="left" if name in ("verdict", "settings") else "right")
    for row in view.verdict().loads:
        side = row.best
        span = row.saving_ci_percent
        table.add_row(
            f"{row.qps:,.0f}",
            Text(row.verdict, _verdict_style(row.verdict)),
            Text(clean(wording.settings(side.knobs, view.knobs)) if side else ""),
            *(side_value(side, name) for name in names),
            "" if row.saving_percent is None else labels.percent(row.saving_percent),
            "" if span is None else f"{span[0]:.1f} to {span[1]:.1f} %",
        )
    return table


def front_table(view: View, console: Console) -> Table:
    """The front of two objectives: settings that none other beats in both."""
    goal = view.goal
    table = new_table(console, f"Front of {metrics.of(goal.objective).label} and {metrics.of(goal.second).label}")
    shown = dict.fromkeys((goal.objective, goal.second, *view.metrics()))
    for name in ("settings", *(metrics.of(name).title for name in shown)):
        table.add_column(name, justify="left" if name == "settings" else "right")
    for one in view.front():
        settings = Text(clean(wording.settings(one.point, view.knobs)))
        table.add_row(settings, *(labels.amount(name, one.metrics.get(name)) for name in shown))
    return table


def days_table(view: View, console: Console) -> RenderableType:
    """What other days showed of what was announced, a row each."""
    table = new_table(console)
    better = view.goal.objectives[0].direction.improvement
    for name in ("day", "verdict", better, *(f"{label} against then" for label in drifting(view)), "folder"):
        table.add_column(name, justify="left" if name in ("day", "verdict", "folder") else "right")
    for when, word, *rest in day_rows(view):
        table.add_row(when, Text(word, _verdict_style(word)), *map(Text, rest))
    return Group(Text(f"other days: {view.again.text()}"), table, *(Text(clean(line)) for line in days_differ(view)))


def days_differ(view: View) -> list[str]:
    """Of other days that were measured with something else: when, and what."""
    return [
        f"{labels.clock(day.began_at, seconds=False)} was measured with something else: {'; '.join(day.differs)}"
        for day in view.again.days
        if day.differs
    ]


def drifting(view: View) -> list[str]:
    """The labels of the limited metrics that other days measured."""
    return [metrics.of(metric).label for metric in _drifting(view)]


def _drifting(view: View) -> list[str]:
    return list(dict.fromkeys(metric for day in view.again.days for metric in day.drift))


def day_rows(view: View) -> list[list[str]]:
    """Other days: when, verdict, saving, each limited metric against the announced one, folder."""
    return [
        [
            labels.clock(day.began_at, seconds=False),
            day.verdict,
            "" if day.saving_percent is None else labels.percent(day.saving_percent),
            *(f"{100 * (day.drift[m] - 1):+.1f} %" if m in day.drift else "" for m in _drifting(view)),
            clean(day.folder),
        ]
        for day in view.again.days
    ]


def picks_table(form: Mapping[str, Any], view: View, console: Console) -> Table:
    """What was picked within other limits (the form of mustherd.report.json), a row for each load."""
    objective = str(form["objective"])
    aim = f"{view.goal.direction(objective).sense} {metrics.of(objective).label}"
    table = new_table(console, f"{aim} with {wording.together(form['limits'])}" if form["limits"] else aim)
    names = view.metrics()
    several = any(row["qps"] is not None for row in form["picks"])
    for name in (
        *(("load (qps)",) if several else ()),
        "settings",
        *(metrics.of(name).title for name in names),
        "repeats",
    ):
        table.add_column(name, justify="left" if name == "settings" else "right")
    for row in form["picks"]:
        found = row["settings"]
        text = "nothing that was measured keeps these limits" if found is None else wording.settings(found, view.knobs)
        table.add_row(
            *((f"{row['qps']:,.0f}",) if several else ()),
            Text(clean(text), "red" if found is None else ""),
            *(labels.amount(name, (row["metrics"] or {}).get(name)) for name in names),
            "" if found is None else str(row["repeats"]),
        )
    return table


def based_on(view: View, found: Verdict) -> str:
    """What the verdict rests on, in a line."""
    counts = ", ".join(f"{n} {state}" for state, n in view.counts.items() if n)
    parts = [f"trials: {counts}" if counts else "no trials", f"wall time {duration(view.wall_seconds)}"]
    if found.baseline:
        parts.append(found.baseline)
    if found.saving_ci_percent:
        parts.append("intervals: 95 %, Student's t, net of what rounds and nodes have in common")
    if found.search_ended:
        parts.append(f"the search ended: {found.search_ended}")
    return "; ".join(parts)


def compare_table(rows: Sequence[Mapping[str, Any]], console: Console) -> Table:
    """Experiments beside one another (the rows of mustherd.report.compare), one column each."""
    table = new_table(console)
    table.add_column("")
    names, lines = compare_lines(rows)
    for name in names:
        table.add_column(Text(clean(name)), justify="right")
    for name, found in lines:
        cells = [Text(cell, _verdict_style(cell) if name == "verdict" else "") for cell in found]
        table.add_row(name, *cells)
    return table
