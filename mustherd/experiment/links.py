"""Every link that an experiment on real nodes rests on, tried without load: keys, ports, logins, programs, servers,
musters, knobs, meters. Nothing changes but for knobs, which are written back to the values that they have, and for
agents that don't answer, whose units are started anew.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Literal

import msgspec

from mustherd import metrics
from mustherd.definition import DefinitionError, Experiment, check_knobs, goal
from mustherd.definition.check import WATCHING
from mustherd.definition.workload import COMMAND
from mustherd.errors import UserError
from mustherd.experiment import wall
from mustherd.experiment.external_load import OutsideLoad
from mustherd.experiment.local_herd import Operator
from mustherd.experiment.owners import owner_of, owners
from mustherd.experiment.preflight import NO_LEADER
from mustherd.experiment.programs_here import INSTALL, absent
from mustherd.experiment.way import at
from mustherd.extras import PROVISION, need
from mustherd.herd.membership import Presence
from mustherd.load.application import value_now
from mustherd.load.error import LoadError
from mustherd.load.placement import Layout, Place
from mustherd.meters.base import UnreadableError
from mustherd.meters.registry import KIND
from mustherd.metrics import OF_ENERGY
from mustherd.reasons import Reason
from mustherd.sampling import NotThereError
from mustherd.shepherd import operate
from mustherd.shepherd.events import HerdError
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import Reading, Setting, settings_of
from mustherd.wire.keys import Keys, for_shepherd, require_for
from mustherd.wire.members import Role
from mustherd.wire.messages import MusterView
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

if TYPE_CHECKING:
    from mustherd.provision.placement import InventoryHerd

JOIN_S = 10.0
"""How long musters may take to join: they knock twice a second."""

ANSWER_S = 20.0
"""For a decision: a card may reset."""

LOOK_S = 0.05

MOST_ASKED = 32
"""Nodes at a time."""
SSH_PORT = 22
SSH_S = 3.0
"""How long a node may take that nothing else is known of."""

LOADED_BY = "mustherd herd start -i INVENTORY starts servers and agents; provision it where they aren't there"
"""What to do about a server or an agent that doesn't answer."""

State = Literal["ok", "wrong", "not tried"]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One link, what was found, and what to do where it doesn't hold."""

    name: str
    state: State
    found: str
    fix: str = ""
    stops: bool = True
    """Whether an experiment can't begin where it is wrong."""


class LinksError(UserError):
    """An experiment can't begin; the message has a line for each link that doesn't hold, with its fix."""

    exit_code = 3

    def __init__(self, wrong: Sequence[Link]) -> None:
        super().__init__("\n".join(["the herd isn't ready:", *(f"- {said(link)}" for link in wrong)]))
        self.wrong = tuple(wrong)


def said(link: Link) -> str:
    """A link in a line."""
    return f"{link.name}: {link.found}" + (f"; fix: {link.fix}" if link.fix else "")


def try_all(experiment: Experiment, herd: "InventoryHerd", operator: Operator) -> Iterator[Link]:
    """Try every link of an experiment on an inventory's herd, each as soon as it can be, without load.

    Musters are asked through a shepherd of this process's own, which is gone again when the last of them was given.
    What makes the load is left alone where all of them load themselves.
    """
    if _is_elsewhere(operator):
        fix = "run this on the inventory's shepherd, which has that address, or give --listen"
        yield Link(name=f"address {operator.listen}", state="wrong", found="not one of this machine's", fix=fix)
        yield Link(name="keys, musters, load", state="not tried", found="all of them are reached from that machine")
        return
    listening = list(_listening(operator))
    yield from listening
    loaded = True
    if any(link.state != "ok" for link in listening):
        yield Link(name="musters", state="not tried", found="no shepherd can listen for them")
    else:
        keys = for_shepherd(operator.keys) if operator.keys is not None else None
        with _asking(operator, keys) as shepherd:
            here = _joined(shepherd, herd.musters)
            servers = herd.layout.servers if herd.layout is not None else {}
            hosts = {name: servers[name][0].host for name in herd.musters if servers.get(name)}
            yield from _musters(experiment, shepherd, herd.musters, here, keys=keys is not None, hosts=hosts)
            for host, who in owners(here.values()).items():
                yield Link(name=f"knobs of {host}", state="ok", found=who)
            loaded = not here or not all(view.facts.loads_itself for view in here.values())
    if herd.layout is not None and loaded:
        yield from _load(experiment, herd.layout)
    elif loaded and experiment.workload.generator is None and experiment.policy.name not in WATCHING:
        yield Link(name="load", state="wrong", found="nobody leads it", fix=NO_LEADER, stops=bool(here))
    yield from try_metrics_and_meters(experiment, herd.musters)


def try_metrics_and_meters(experiment: Experiment, musters: Sequence[str]) -> Iterator[Link]:
    """Read once each meter of each muster's machine, and each metric of the application: all that this machine asks."""
    for muster in musters:
        yield from _meters(experiment, muster, alone=len(musters) == 1)
    for name, metric in experiment.metrics.items():
        called = f"metric {name}"
        try:
            value = value_now(name, metric)
        except UnreadableError as error:
            # An application that is the experiment's own server isn't there yet.
            later = experiment.herd.local is not None and isinstance(error, NotThereError)
            found = f"{error}; its server may start with the experiment" if later else str(error)
            yield Link(name=called, state="not tried" if later else "wrong", found=found, stops=False)
        else:
            yield Link(name=called, state="ok", found=f"{value:g} {metrics.of(name).unit}".rstrip(), stops=False)


def _meters(experiment: Experiment, muster: str, *, alone: bool) -> Iterator[Link]:
    """The meters of a muster's machine, each read once."""
    for name, given in experiment.meters.items():
        called = f"meter {name} of {muster}"
        try:
            meter, _ = wall.meters_of({name: given}, muster, alone=alone)[name]
            value = meter.read()
        except LoadError as error:
            yield Link(name=called, state="wrong", found=error.message)
        except (UnreadableError, UserError, ValueError) as error:
            gone = _gone(given)
            yield Link(name=called, state="wrong", found=gone or str(error), fix=INSTALL if gone else "")
        else:
            unit = "W" if meter.quantity == "watts" else "J so far"
            yield Link(name=called, state="ok", found=f"{value:.1f} {unit}")


def _gone(meter: Mapping[str, object]) -> str:
    """What is wrong where a meter's program isn't here; one with the muster's name in its own is not looked for."""
    command = meter.get(COMMAND)
    program = str(command[0]) if meter.get(KIND) == COMMAND and isinstance(command, list | tuple) and command else ""
    return absent(program) if program and "{" not in program else ""


def _is_elsewhere(operator: Operator) -> bool:
    """Whether the shepherd's address is another machine's, so that nothing tried from here would say anything."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(operator.listen, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(place)
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


def _listening(operator: Operator) -> Iterator[Link]:
    """The keys, and the address with its ports."""
    name = "keys"
    try:
        keys = for_shepherd(operator.keys) if operator.keys is not None else None
        require_for(operator.listen, keys)
    except UserError as error:
        found, _, fix = str(error).partition("; ")
        if operator.keys is None:
            fix = "mustherd herd provision -i INVENTORY brings them; or give the folder that has them: --keys"
        yield Link(name=name, state="wrong", found=found, fix=fix or "give the folder with the shepherd's: --keys")
        # Whoever has the ports can't be asked to give way without them.
        yield Link(name=f"{operator.listen}, ports {operator.ports}", state="not tried", found="they need the keys")
        return
    accepted = (keys.accepted or {}).values() if keys is not None else ()
    musters = sum(member.role == Role.MUSTER for member in accepted)
    there = f"of {musters} musters in {operator.keys}" if keys is not None else "none, on loopback"
    yield Link(name=name, state="ok", found=there)
    for channel, port in msgspec.structs.asdict(operator.ports).items():
        place = f"{operator.listen}, port {port} ({channel})"
        try:
            family = socket.getaddrinfo(operator.listen, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((operator.listen, port))
        except OSError as error:
            taken = "already in use" in (error.strerror or "").lower()
            fix = _who_listens(operator) if taken else "give another address to listen on: --listen"
            yield Link(name=place, state="wrong", found=error.strerror or str(error), fix=fix)
            return
    yield Link(name=f"{operator.listen}, ports {operator.ports}", state="ok", found="free")


def _who_listens(operator: Operator) -> str:
    """What to do about whoever has the ports."""
    try:
        status = operate.status(at(operator.listen, operator.ports), operator.keys)
    except UserError:
        return "see who has it (ss -ltnp), and end that"
    if status.experiment:
        ends = f"end it, which takes some seconds: mustherd experiment stop {status.folder}"
        return f"experiment {status.experiment} runs there; wait for its end, or {ends}"
    return "a shepherd without an experiment has it and did not give way: sudo systemctl stop mustherd-shepherd"


def _load(experiment: Experiment, layout: Layout) -> Iterator[Link]:
    """The machines that make the load, and the servers that it goes to."""
    if any(place.host for place in (layout.leader, *layout.agents)):
        need(PROVISION, "paramiko")
    reached = True
    for place in dict.fromkeys((layout.leader, *layout.agents)):
        if not place.host:
            continue
        from mustherd.load.ssh import ChannelError, reach  # noqa: PLC0415 - as external_load

        try:
            login = reach(place)
        except ChannelError as error:
            reached = False
            found, _, fix = str(error).partition("; fix: ")
            yield Link(name=f"ssh {place.address}", state="wrong", found=found, fix=fix)
        else:
            yield Link(name=f"ssh {place.address}", state="ok", found=login)
    if not reached:
        yield Link(name="load", state="not tried", found="not all of its machines can be reached")
        return
    outside = OutsideLoad(experiment.workload, layout, musters=max(1, len(layout.servers)))
    try:
        for muster in layout.servers:
            try:
                problems = outside.check(muster)
            except LoadError as error:
                problems = [error.message]
            for problem in problems:
                found, _, fix = problem.partition("; fix: ")
                yield Link(name=f"load of {muster}", state="wrong", found=found, fix=fix or LOADED_BY)
            if not problems:
                yield Link(name=f"load of {muster}", state="ok", found=_who_loads(outside, layout.leader))
    finally:
        outside.leave()


def _who_loads(outside: OutsideLoad, leader: Place) -> str:
    teams = outside.teams
    agents = max((len(team.agents) for team in teams), default=0)
    side = f", {len(teams)} at the same time" if len(teams) > 1 else ""
    loading = "1 agent loads" if agents == 1 else f"{agents} agents load"
    return f"{leader.address} leads, {loading}{side}; programs are the same builds, servers answer"


@contextlib.contextmanager
def _asking(operator: Operator, keys: Keys | None) -> Iterator[Shepherd]:
    """A shepherd that nobody drives. WireError."""
    shepherd = Shepherd(ShepherdEndpoint(operator.listen, operator.ports, keys))
    shepherd.start()
    try:
        yield shepherd
    finally:
        shepherd.stop()


def _musters(
    experiment: Experiment,
    shepherd: Shepherd,
    names: Sequence[str],
    here: Mapping[str, MusterView],
    *,
    keys: bool,
    hosts: Mapping[str, str],
) -> Iterator[Link]:
    """`hosts`: the address of each muster's node, where it is known."""
    unheard = dict.fromkeys(hosts[name] for name in names if name not in here and hosts.get(name))
    with ThreadPoolExecutor(MOST_ASKED) as asking:
        silence = dict(zip(unheard, asking.map(_silent, unheard), strict=True))
    for name in names:
        if name in here:
            yield from _muster(experiment, shepherd, here[name], here)
            yield from _energy(experiment, here[name])
            continue
        fix = "start it: mustherd herd start -i INVENTORY; its log: journalctl -u mustherd-muster"
        if not keys:
            fix += "; a real machine's joins a shepherd whose key it knows: --keys FOLDER"
        found = f"has not joined within {JOIN_S:g} s"
        if silent := silence.get(host := hosts.get(name, ""), ""):
            found += f", and its node {host} does not answer at ssh's port 22 either: {silent}"
            fix = f"see that the node is up and in the network (ssh {host}); {fix}"
        yield Link(name=name, state="wrong", found=found, fix=fix, stops=not here)


def _silent(host: str) -> str:
    """Why a machine can't be reached at all; "" for one that answers, if only by refusing."""
    try:
        socket.create_connection((host, SSH_PORT), SSH_S).close()
    except ConnectionRefusedError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _energy(experiment: Experiment, view: MusterView) -> Iterator[Link]:
    """That energy can be measured where it is wanted: without a meter every window would be measured in vain."""
    wanted = [metric for metric in goal(experiment).metrics if metric in OF_ENERGY]
    if wanted and view.facts.unmetered:
        why = view.facts.text.get("energy", "it does not say why").removeprefix("none: ")
        fix = "objective: machine_cpu_seconds or server_cpu_seconds, or leave it out of this herd"
        yield Link(name=f"{view.name} energy", state="wrong", found=f"{wanted[0]} has no meter: {why}", fix=fix)


def _joined(shepherd: Shepherd, names: Sequence[str]) -> dict[str, MusterView]:
    """Those that are there, once all of them are or have had their time."""
    deadline = time.monotonic() + JOIN_S
    while True:
        here = {name: view for name, view in shepherd.musters().items() if view.presence == Presence.ALIVE}
        if here.keys() >= set(names) or time.monotonic() > deadline:
            return here
        time.sleep(LOOK_S)


def _muster(
    experiment: Experiment, shepherd: Shepherd, view: MusterView, here: Mapping[str, MusterView]
) -> Iterator[Link]:
    """Its knobs: that they are there, allow what is asked, can be read, and written back to what they hold."""
    if experiment.policy.name in WATCHING:
        yield Link(name=view.name, state="ok", found="joined; nothing is set on it")
        return
    asked = dict.fromkeys((*experiment.knobs, *experiment.baseline.settings), 0)
    try:
        check_knobs(experiment, view.knobs, view.facts)
        wanted = {(s.sheep, s.knob) for s in settings_of(asked, view.knobs)}
    except (DefinitionError, KeyError) as error:
        others = {knob: owner_of(knob.partition("@")[0], view, here.values()) for knob in asked}
        held = ", ".join(f"{knob} is {other}'s" for knob, other in others.items() if other not in ("", view.name))
        fix = f"{held}, on the same machine: one muster sets a knob, leave the other out of this herd" if held else ""
        if not held and (gone := _no_such_cores(asked, view)):
            fix = f"the machine has no {gone}; its CPUs are {view.facts.text['cpus_online']}"
        elif not held and (own := _sheep_options(asked, view)):
            fix = f"for places of their own: mustherd_linux: {{{own}}} in the inventory, and provision --tags config"
        yield Link(name=view.name, state="wrong", found=f"joined, but {error}", fix=fix)
        return
    try:
        found = [r for r in _decided(shepherd, view, ()) if (r.sheep, r.knob) in wanted]
        same = tuple(Setting(r.sheep, r.knob, r.applied) for r in found if r.applied is not None)
        infos = {(info.sheep, info.name): info for info in view.knobs}
        same = tuple(s for s in same if infos[s.sheep, s.knob].allows(s.value))
        written = _decided(shepherd, view, same) if same else ()
        _decided(shepherd, view, ())
    except (HerdError, FutureTimeoutError) as error:
        yield Link(name=view.name, state="wrong", found=f"joined, but {error or 'gave no answer in time'}")
        return
    bad = [r for r in found if r.applied is None and not r.held]
    bad += [r for r in written if r.asked is not None and not r.held]
    for reading in bad:
        why = reading.error or f"asked {reading.asked}, it keeps {reading.applied} and runs at {reading.running}"
        yield Link(
            name=f"{view.name} {reading.knob}", state="wrong", found=why, fix="mustherd herd doctor, on the node"
        )
    if not bad:
        knobs = ", ".join(sorted({knob for _, knob in wanted})) or "no knob"
        yield Link(name=view.name, state="ok", found=f"joined; {knobs} read, and written back to the same value")


SHEEP_OPTIONS = {"dvfs": "dvfs_sheep", "idle-latency": "idle_sheep", "itr-delay": "itr_sheep"}
"""By which option of [linux] each core or queue has a knob of its own; the NAPIs' knobs have one together."""


def _sheep_options(asked: Iterable[str], view: MusterView) -> str:
    """The options by which a muster would have the cores' or queues' knobs that are asked of it and that it has not."""
    wanted = {}
    for key in asked:
        knob, _, place = key.partition("@")
        kind = place.rpartition("-")[0]
        if kind in ("core", "socket", "queue") and {i.sheep for i in view.knobs if i.name == knob} == {"node-0"}:
            wanted[SHEEP_OPTIONS.get(knob, "napi_sheep")] = "queue" if kind == "queue" else "core"
    return ", ".join(f"{option}: {kind}" for option, kind in wanted.items())


def _no_such_cores(asked: Iterable[str], view: MusterView) -> str:
    """The cores that are asked of a muster whose machine says which CPUs it has, and that are none of them."""
    from mustherd.node.linux.tree import parse_cpus  # noqa: PLC0415 (of a definition that is wrong alone)

    try:
        there = {f"core-{cpu}" for cpu in parse_cpus(view.facts.text.get("cpus_online", ""))}
    except ValueError:
        # What a muster says of its machine is text, and may be cut.
        return ""
    if not there:
        return ""
    places = dict.fromkeys(key.partition("@")[2] for key in asked)
    return ", ".join(place for place in places if place.startswith("core-") and place not in there)


def _decided(shepherd: Shepherd, view: MusterView, settings: tuple[Setting, ...]) -> tuple[Reading, ...]:
    applied = shepherd.decide(view.name, settings).result(ANSWER_S)
    if applied.outcome in ("refused", "failed"):
        refused = applied.outcome == "refused"
        reason = Reason.DECISION_REFUSED if refused else Reason.DECISION_FAILED
        raise HerdError(reason, f"{applied.outcome}: {applied.detail}")
    return applied.readings
