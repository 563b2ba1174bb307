"""docs/explain/faults.md out of what campaigns came to."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.faults.by_hand import Numbered
from tests.faults.came import Attack
from tests.faults.experiment import Attack as OnAnExperiment

INTRODUCTION = """\
# What was done to a herd, and what came of it

Whole herds were attacked: a shepherd, four musters, their row logs and load, as the processes that a user starts. A
seed decides which attack comes when; after each, this has to hold, or the campaign fails: the knobs of a node are as
they were found within the lease of whoever lost its shepherd, and else as they were decided; no decision is acted on
twice, late, or by a node that it wasn't for; each state folder and each experiment has one owner; every row that a
source made is on disk once and in order, or counted as lost; a trial that has finished stays as it is, once; whatever
ends has the exit code that says why; whoever is left goes on: answers, rows, new settings.

`make test-faults` runs a campaign of some minutes with a new seed, which it prints; `SEED=n` has the same events
again, `MINUTES=m` goes on for longer. As root it makes disks and networks of its own, fills, stops and cuts them; as
another user it leaves those out. This page is made by `make test-faults SEED=n TABLE=docs/explain/faults.md`;
`EARLIER=faults.json` has it tell of another campaign too, `CROWD=file` of what `make bench NAME=thousand_musters`
printed, `FUZZ=file` of what `make test-fuzz JSON=file` came to, and `HAND=file` of what `make test-attacks JSON=file`
did; each may name several files. `MINUTES=0` attacks nothing and only writes the page.

A promise that is late is a fault, unless the machine kept our processes from keeping it: what the kernel counted that
they waited for a processor is added to what it may take, and nothing else. Where a lease or an answer was lost to that,
the last column says how often.

Its disks have blocks of a page, as mkfs makes them from 512 MB on. On smaller ones (1 KiB, as seed 678266 had them)
SQLite's index in shared memory has holes, and an experiment whose disk is full there may end with SIGBUS: keep
experiments on a file system with blocks of 4 KiB.

What campaigns found was mended where it came from, and became a test beside that code. Where a muster was given
another key it 'ended with -9' (seed 678266): its guardian had ended it, as it has to, since the machine gave the
muster no processor for as long as its lease; the guardian has a session of its own, whose weight the muster's may not
have. What the kernel counted excuses that now, and what the guardian said is told. Disks that break (EIO) showed an
experiment that ended with 2 instead of 3, and rows that would have waited for ever, or been taken for others, once the
disk was back. A guardian killed a muster that did nothing wrong (seed 298848): it had read half of a time that was
being written. What came of attacks by hand, and which test stands for each, is in [attacks](attacks.md).

"""


OPEN = "not run"


def lines(
    campaigns: Sequence[Mapping[str, Any]],
    attacks: Sequence[Attack | OnAnExperiment],
    crowd: Mapping[str, Any] | None = None,
    fuzz: Sequence[Mapping[str, Any]] = (),
    hand: tuple[Sequence[Numbered], Sequence[Mapping[str, Any]]] = ((), ()),
) -> Iterator[str]:
    """The page: a row for each attack, over all its events.

    `crowd` is what the benchmark thousand_musters gave; `hand` the attacks by hand, and what their tests came to.
    """
    yield INTRODUCTION
    seeds = ", ".join(dict.fromkeys(str(campaign["seed"]) for campaign in campaigns))
    chosen = ", ".join(dict.fromkeys(str(campaign["seed"]) for campaign in campaigns if campaign.get("chosen")))
    events = [event for campaign in campaigns for event in campaign["events"]]
    seconds = sum(campaign["seconds"] for campaign in campaigns)
    told = f" Of {chosen} chosen attacks, once each." if chosen else ""
    yield f"Seed {seeds}: {len(events)} events in {seconds / 60:.0f} minutes.{told}\n\n"
    yield "| attack | times | expected | seen | figures | tests |\n| --- | --- | --- | --- | --- | --- |\n"
    for attack in attacks:
        mine = [event for event in events if event["attack"] == attack.kind.name]
        faults = [fault for event in mine for fault in event["faults"]]
        found = f"{_seen(faults, len(mine))} | {_figures(mine)} | {_tests(attack.tests)}"
        yield f"| {attack.kind.name} | {len(mine)} | {attack.expected} | {found} |\n"
    yield "\n"
    yield from _ends(campaigns)
    yield from _by_hand(*hand)
    if crowd is not None:
        yield CROWD.format(**crowd)
    if fuzz:
        yield FUZZ
    for one in _together(fuzz):
        slowest = f"{one['slowest_s']:g} s" if one["slowest_s"] else ""
        cost = f"{one['growth_mib'] + 0.0:g} MiB | {one['descriptors']} | {slowest}"
        yield f"| {one['name']} | {one['inputs']:,} | {cost} | {_seen(one['faults'], one['inputs'])} |\n"


def _together(fuzz: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Several runs on one reader or port as one: inputs added up, costs the highest."""
    found: dict[str, dict[str, Any]] = {}
    for one in fuzz:
        known = found.setdefault(one["name"], {**one, "inputs": 0, "faults": []})
        for name in ("inputs", "faults"):
            known[name] = known[name] + one[name]
        for name in ("growth_mib", "descriptors", "slowest_s"):
            known[name] = max(known[name], one[name])
    return list(found.values())


def _seen(faults: Sequence[str], times: int) -> str:
    if not times:
        return OPEN
    return "; ".join(dict.fromkeys(fault.replace("|", "/") for fault in faults)) or "as expected"


def _tests(names: Sequence[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names)


def _ends(campaigns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was wrong with herds and experiments as wholes, and their figures over all of them."""
    if not campaigns:
        return
    faults = list(dict.fromkeys(fault for campaign in campaigns for fault in campaign["faults"]))
    figures = []
    for name in dict.fromkeys(name for campaign in campaigns for name in campaign["figures"]):
        values = sorted(campaign["figures"][name] for campaign in campaigns if name in campaign["figures"])
        figures.append(f"{name.replace('_', ' ')} {_span(values)}")
    whole = "; ".join(faults) or "nothing was wrong with any as a whole"
    yield f"At the end of {len(campaigns)} herds and experiments: {whole} ({', '.join(figures)}).\n"


def _by_hand(rows: Sequence[Numbered], came: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield HAND
    of = {one["number"]: one for one in came}
    for row in rows:
        found: Mapping[str, Any] = of.get(row.number, {"ran": 0, "seconds": 0.0, "figures": {}, "faults": []})
        told = [f"{found['ran']} tests in {found['seconds']:g} s", *(f"{k} {v}" for k, v in found["figures"].items())]
        named = f"{row.number} ({', '.join(row.scripts)})" if row.scripts else f"{row.number}"
        seen = _seen(found["faults"], found["ran"])
        yield f"| {named} | {row.done} | {row.holds} | {seen} | {', '.join(told)} |\n"


HAND = """
## Attacks by hand

`make test-attacks` runs the tests that stand for each row of [attacks](attacks.md), which names them: the same attacks
again, on real processes. In brackets are the names of the scripts that showed them first. Figures are those tests' own.

| attack | what was done | expected | seen | figures |
| --- | --- | --- | --- | --- |
"""

CROWD = """
## A thousand musters

`make bench NAME=thousand_musters`: {musters} whole musters in two processes beside one shepherd, on a machine with
other work. All joined within {all_joined_s:g} s; a status of all took {status_s:g} s. All were set within
{all_set_s:g} s. All sent rows at once: {rows:,} rows of {rows_expected:,} were durable and acknowledged within
{all_rows_durable_s:g} s, and {still_in_force} of as many decisions were in force all the while; the shepherd then had
{shepherd_rss_mib:g} MiB and {shepherd_descriptors} descriptors. It was killed: all leases ended at once, and every
node was as found within {all_put_back_s:g} s. {all_back_s:g} s after its next life listened, all were there again.
"""

FUZZ = """
## Mutated input

`make test-fuzz`: frames of a peer whose key is accepted, and input for readers. Nothing ends, nothing is set that
nobody asked for, an honest muster beside it keeps its decision, and memory and descriptors stay.

| to | inputs | memory grew by | descriptors more | slowest input | seen |
| --- | --- | --- | --- | --- | --- |
"""

NAMES = {
    "back_s": "put back after {} s",
    "whole_s": "whole again after {} s",
    "frames": "{} frames",
    "ended_s": "ended after {} s",
    "next_s": "a trial finished after {} s",
    "kept": "{} finished trials there",
    "starved": "{} times no time to keep a lease or to answer",
}


def _figures(events: Sequence[Mapping[str, Any]]) -> str:
    found = []
    for name, words in NAMES.items():
        values = sorted(event["figures"][name] for event in events if name in event["figures"])
        if name == "starved" and not sum(values):
            continue
        if values:
            found.append(words.format(_span(values)))
    return ", ".join(found)


def _span(ordered: Sequence[float]) -> str:
    return f"{ordered[0]:g}" if ordered[0] == ordered[-1] else f"{ordered[0]:g} to {ordered[-1]:g}"
