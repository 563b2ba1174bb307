"""What must hold before an experiment's folder is made: all that can be told without touching a node."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mustherd.definition import Experiment, Plan, given_points, plan
from mustherd.definition.check import here
from mustherd.definition.errors import DefinitionError, Finding
from mustherd.definition.units import duration
from mustherd.errors import UserError, shown
from mustherd.experiment.plug_ins import check_plugins
from mustherd.load.placement import LAYOUT, Layout, teams, write
from mustherd.wire.members import MAX_MUSTERS

if TYPE_CHECKING:
    from mustherd.provision.placement import InventoryHerd


NO_LEADER = "put one host into loadgen_leader"
"""What to do about an inventory with nobody who leads the load."""


def check(experiment: Experiment) -> None:
    """Raise what is wrong with a definition's plug-ins, or with what it reads from elsewhere.

    DefinitionError, with its line, for a plug-in that isn't installed, options that it refuses, a table of settings
    that can't be used, and knobs that the file of `herd.local.own` doesn't declare so; PluginError for a plug-in that
    can't be loaded; StoreError for a prior that says nothing.
    """
    check_plugins(experiment)
    if experiment.herd.local is not None and experiment.herd.local.own is not None:
        check_own(experiment, Path(experiment.herd.local.own))
    if experiment.search.method == "one-shot":
        given_points(experiment)
    if experiment.search.prior is not None:
        # Imported late, with the store that it may read: most experiments begin without one.
        from mustherd.experiment.prior import read_prior  # noqa: PLC0415

        read_prior(experiment)


def check_own(experiment: Experiment, file: Path) -> None:
    """Raise DefinitionError, with its line, for a file that declares no knobs, or not those that the definition names.

    They are read where they are to be set, and never from the experiment's folder: who may write that is another one.
    """
    from mustherd.node.linux import own_file  # noqa: PLC0415 (most experiments have none)

    try:
        found = own_file.read(file)
    except UserError as error:
        raise experiment.source.error([Finding(("herd", "local", "own"), str(error))]) from None
    if findings := here(experiment, list(found.infos())):
        raise experiment.source.error(findings)


def check_musters(experiment: Experiment, musters: int | None) -> None:
    """Raise UserError for a number of musters to wait for that makes no sense, or where the definition has it."""
    if musters is None:
        return
    if experiment.herd.inventory is None:
        where = "herd.simulated.musters has it" if experiment.herd.simulated else "a local herd has one"
        raise UserError(f"musters: {musters!r} is for the herd of an inventory; {where}")
    if not isinstance(musters, int) or isinstance(musters, bool) or not 1 <= musters <= MAX_MUSTERS:
        raise UserError(f"musters: {musters!r} is no number of musters; allowed: a whole number in 1..{MAX_MUSTERS}")


def herd_of(experiment: Experiment) -> "InventoryHerd | None":
    """The herd of an experiment on an inventory. InventoryError where it can't be read, DefinitionError without one."""
    if experiment.herd.inventory is None:
        return None
    if not Path(experiment.herd.inventory).exists():
        said = f"{shown(experiment.herd.inventory)}: no such inventory"
        allowed = "the path of one, from the current folder"
        raise experiment.source.error([Finding(("herd", "inventory"), said, allowed)])
    # Ansible takes a while to import, and most experiments have no inventory.
    from mustherd.provision.placement import read  # noqa: PLC0415

    return read(Path(experiment.herd.inventory))


def planned(
    experiment: Experiment,
    musters: int | None = None,
    herd: "InventoryHerd | None" = None,
    noise: float | None = None,
) -> Plan:
    """The plan on the herd that an experiment names; an inventory or a file of knobs that isn't here says nothing.

    `noise`: of one window's objective, as `plan` takes it.
    """
    local, inventory = experiment.herd.local, experiment.herd.inventory
    if local is not None and local.own is not None and os.access(local.own, os.R_OK):
        check_own(experiment, Path(local.own))
    if herd is None and inventory is not None and Path(inventory).exists():
        herd = herd_of(experiment)
    if herd is None:
        return plan(experiment, musters, noise=noise)
    nodes = musters or len(herd.musters) or 1
    return plan(experiment, nodes, None if herd.layout is None else len(teams(herd.layout, nodes)), noise=noise)


def check_until(experiment: Experiment, herd: "InventoryHerd | None") -> None:
    """Raise DefinitionError, with its line, for an experiment that doesn't fit into what is left of the reservation."""
    if (error := too_late(experiment, planned(experiment, herd=herd))) is not None:
        raise error


def too_late(experiment: Experiment, found: Plan) -> DefinitionError | None:
    """What is wrong with `until` where what was planned doesn't fit before it."""
    if found.seconds_left is None or found.wall_seconds <= found.seconds_left:
        return None
    over = found.seconds_left <= 0
    fix = "a later time, or leave it out" if over else "fewer trials or repeats, shorter windows, or another day"
    said = (
        f"the reservation ends at {found.until}, {found.left_text()}, and the experiment takes about"
        f" {duration(found.wall_seconds)}; fix: {fix}"
    )
    return experiment.source.error([Finding(("budget", "until"), said)])


def load_layout(experiment: Experiment, herd: "InventoryHerd | None") -> Layout | None:
    """Which machines make the load; None where the nodes do. InventoryError where the inventory has nobody for it."""
    if experiment.workload.offered_by is None:
        return herd.layout if herd is not None else None
    if herd is None:
        return Layout()
    if herd.layout is None:
        from mustherd.provision.inventory import InventoryError  # noqa: PLC0415

        raise InventoryError(f"{experiment.herd.inventory}: nobody leads the load; fix: {NO_LEADER}")
    return herd.layout


def lay_out_load(folder: Path, layout: Layout | None) -> None:
    """Say in the experiment's folder which machines make the load, where it doesn't come from the nodes themselves."""
    if layout is None:
        (folder / LAYOUT).unlink(missing_ok=True)
    else:
        write(layout, folder)
