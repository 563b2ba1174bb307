"""What who starts an experiment doesn't have to say, since the inventory does; and whether the herd is ready."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mustherd.definition import Experiment
from mustherd.definition.errors import DefinitionError
from mustherd.experiment.links import Link, LinksError, try_all, try_metrics_and_meters
from mustherd.experiment.local_herd import Operator, enough_files
from mustherd.experiment.preflight import check_until, herd_of, load_layout
from mustherd.experiment.programs_here import INSTALL, lined, missing
from mustherd.experiment.way import make_way
from mustherd.node.knob import KnobError
from mustherd.rowlog import native
from mustherd.shepherd.operate import LOCAL
from mustherd.store.beginning import begin, unheard

if TYPE_CHECKING:
    from mustherd.provision.placement import InventoryHerd

LOCAL_MUSTER = "muster-1"
"""The muster of a herd on this machine."""
SHEPHERDS_KEY = "shepherd.key_secret"


def ready(
    experiment: Experiment,
    folder: Path,
    *,
    musters: int | None,
    listen: str | None,
    keys: str | os.PathLike[str] | None,
) -> "tuple[InventoryHerd | None, Operator]":
    """The herd of an experiment's inventory and how it is run, once every link of it holds.

    What isn't given is the inventory's. A shepherd without an experiment that has the ports gives way. Meanwhile
    `mustherd experiment status` of `folder`, which the experiment is to be in, says what is going on. Raises
    LinksError, which names what doesn't hold; MachineError; InventoryError; OwnedError where another process begins it;
    RowParserError where rows couldn't be parsed as the environment asks.
    """
    native.which()
    # A herd that is made for the experiment is there as soon as it is needed.
    with begin(folder) if experiment.herd.inventory is not None else contextlib.nullcontext(unheard) as tell:
        tell("its inventory is read")
        herd = herd_of(experiment)
        load_layout(experiment, herd)
        operator = resolved(herd, musters=musters, listen=listen, keys=keys)
        enough_files(experiment, operator)
        if experiment.budget.until is not None:
            check_until(experiment, herd)
        if herd is None:
            _stop_at([link for link in _here(experiment) if link.state == "wrong" and link.stops])
            return None, operator
        tell("the links of its herd are tried")
        make_way(operator.listen, operator.ports, operator.keys)
        wrong = []
        for number, link in enumerate(try_all(experiment, herd, operator), 1):
            tell(f"the links of its herd are tried, {number} so far, the last one {link.name}: {link.state}")
            if link.state == "wrong" and link.stops:
                wrong.append(link)
    _stop_at(wrong)
    return herd, operator


def _stop_at(wrong: Sequence[Link]) -> None:
    if wrong:
        raise LinksError(wrong)


def _here(experiment: Experiment) -> Iterator[Link]:
    """What an experiment without an inventory rests on."""
    if experiment.herd.local is None:
        return
    for place, found in missing(experiment):
        yield Link(name=place, state="wrong", found=found, fix=INSTALL)
    yield from _own_knobs(experiment)
    yield from try_metrics_and_meters(experiment, [LOCAL_MUSTER])


def _own_knobs(experiment: Experiment) -> Iterator[Link]:
    """Read once each knob of the file of `herd.local.own` that is to be set.

    One that is found beyond what it says it allows is wrong: nobody can tell whether it takes that value back.
    """
    local = experiment.herd.local
    if local is None or local.own is None:
        return
    # Most experiments have none.
    from mustherd.node.linux import own, own_file  # noqa: PLC0415

    declared = own_file.read(Path(local.own)).own
    short = not experiment.source.has(("baseline", "settings"))
    at = ("baseline",) if short else ("baseline", "settings")
    places: dict[str, tuple[str, ...]] = {key.partition("@")[0]: (*at, key) for key in experiment.baseline.settings}
    places |= {key.partition("@")[0]: ("knobs", key) for key in experiment.knobs}
    for name in sorted(declared.keys() & places.keys()):
        called = f"knob {name}{lined(experiment, places[name])}"
        try:
            value = own.of_this_machine(name, declared[name]).read()
        except KnobError as error:
            yield Link(name=called, state="wrong", found=str(error), fix=f"see linux.own.{name} in {local.own}")
        else:
            info = declared[name].info(name)
            if info.allows(value):
                yield Link(name=called, state="ok", found=f"{declared[name].text_of(value)} {info.unit}")
                continue
            far = "beyond" if not info.low <= value <= info.high else "not among"
            found = f"it is at {value} {info.unit}, {far} what linux.own.{name} allows: {info.allowed_text()}"
            fix = f"let linux.own.{name} in {local.own} allow {value}, or set it to a value that it allows"
            yield Link(name=called, state="wrong", found=found, fix=fix)


def try_links(
    experiment: Experiment,
    *,
    musters: int | None,
    listen: str | None,
    keys: str | os.PathLike[str] | None,
    tell: Callable[[Link], object],
) -> list[Link]:
    """Every link of an experiment's herd; `tell` gets each as it was tried. InventoryError."""
    herd = herd_of(experiment)
    load_layout(experiment, herd)
    tried: list[Link] = []

    def note(link: Link) -> None:
        tell(link)
        tried.append(link)

    if herd is None:
        for link in _here(experiment):
            note(link)
        return tried
    if experiment.budget.until is not None:
        note(_until(experiment, herd))
    operator = resolved(herd, musters=musters, listen=listen, keys=keys)
    make_way(operator.listen, operator.ports, operator.keys)
    for link in try_all(experiment, herd, operator):
        note(link)
    return tried


def _until(experiment: Experiment, herd: "InventoryHerd") -> Link:
    """Whether the experiment fits into what is left of the reservation."""
    try:
        check_until(experiment, herd)
    except DefinitionError as error:
        found, _, fix = error.problem.partition("; fix: ")
        found = f"{error.file}:{error.line}: {found}" if error.line else found
        return Link(name="budget.until", state="wrong", found=found, fix=fix)
    return Link(name="budget.until", state="ok", found="the experiment ends before it")


def resolved(
    herd: "InventoryHerd | None", *, musters: int | None, listen: str | None, keys: str | os.PathLike[str] | None
) -> Operator:
    """What was given, and what the inventory says where nothing was."""
    if herd is None:
        return Operator(listen=listen or LOCAL, keys=None if keys is None else Path(keys), musters=musters)
    found = next((Path(folder) for folder in herd.keys if _has_keys(Path(folder))), None)
    return Operator(
        listen=listen or herd.shepherd or LOCAL,
        keys=Path(keys) if keys is not None else found,
        ports=herd.ports,
        musters=musters or len(herd.musters) or None,
    )


def _has_keys(folder: Path) -> bool:
    try:
        return (folder / SHEPHERDS_KEY).exists()
    except PermissionError:
        # They are there, for others: whoever reads them is told so.
        return True
