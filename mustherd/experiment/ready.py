"""What who starts an experiment doesn't have to say, since the inventory does; and whether the herd is ready."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mustherd.definition import Experiment
from mustherd.experiment.links import Link, LinksError, try_all
from mustherd.experiment.local_herd import Operator
from mustherd.experiment.preflight import check_until, herd_of
from mustherd.experiment.way import make_way
from mustherd.shepherd.operate import LOCAL

if TYPE_CHECKING:
    from mustherd.provision.placement import InventoryHerd

SHEPHERDS_KEY = "shepherd.key_secret"


def ready(
    experiment: Experiment, *, musters: int | None, listen: str | None, keys: str | os.PathLike[str] | None
) -> "tuple[InventoryHerd | None, Operator]":
    """The herd of an experiment's inventory and how it is run, once every link of it holds.

    What isn't given is the inventory's. A shepherd without an experiment that has the ports gives way. Raises
    LinksError, which names what doesn't hold; InventoryError.
    """
    herd = herd_of(experiment)
    operator = resolved(herd, musters=musters, listen=listen, keys=keys)
    if experiment.budget.until is not None:
        check_until(experiment, herd)
    if herd is None:
        return None, operator
    make_way(operator.listen, operator.ports, operator.keys)
    wrong = [link for link in try_all(experiment, herd, operator) if link.state == "wrong" and link.stops]
    if wrong:
        raise LinksError(wrong)
    return herd, operator


def try_links(
    experiment: Experiment,
    *,
    musters: int | None,
    listen: str | None,
    keys: str | os.PathLike[str] | None,
    tell: Callable[[Link], object],
) -> list[Link]:
    """Every link of the herd of an experiment's inventory; `tell` gets each as it was tried. InventoryError."""
    herd = herd_of(experiment)
    if herd is None:
        return []
    operator = resolved(herd, musters=musters, listen=listen, keys=keys)
    make_way(operator.listen, operator.ports, operator.keys)
    tried = []
    for link in try_all(experiment, herd, operator):
        tell(link)
        tried.append(link)
    return tried


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
