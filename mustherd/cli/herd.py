"""`mustherd herd`: the nodes and musters as a whole."""

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mustherd.cli.operator import Keys, Shepherd, client
from mustherd.cli.printing import Progress, aside, console, ends_with, print_json, print_left
from mustherd.cli.verbose import Verbose
from mustherd.cli.web import LOOPBACK, Address, Port, Web, watch_herd

if TYPE_CHECKING:
    from mustherd.node.linux import doctor as node_doctor
    from mustherd.provision.failures import Step
    from mustherd.wire.messages import MusterView

app = typer.Typer(help="The nodes and musters as a whole.", no_args_is_help=True, rich_markup_mode=None)

LOOK_SECONDS = 2.0
"""Between two looks at a herd that is watched in a terminal."""

MOST_MANIFEST_BYTES = 16 << 20
MOST_WANTED_BYTES = 1 << 20
OF_FILES = (".xml", ".rspec", ".yml", ".yaml", ".json", ".toml", ".ini", ".cfg", ".txt")
"""What names of files end with, and no host's does: no such top-level domain exists."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]


Inventory = Annotated[Path, typer.Option("--inventory", "-i", help="The inventory: a folder or a file.")]
Tags = Annotated[list[str] | None, typer.Option("--tags", help="Only these parts, as in --tags kernel.")]
Limit = Annotated[str, typer.Option(help="Only these hosts or groups.")]
Extra = Annotated[
    list[str] | None, typer.Option("--extra-vars", "-e", metavar="NAME=VALUE", help="A variable; repeat it.")
]
Check = Annotated[bool, typer.Option("--check", help="Say what would change, and change nothing.")]


@app.command()
def provision(
    inventory: Inventory,
    tags: Tags = None,
    limit: Limit = "",
    extra: Extra = None,
    check: Check = False,
    json: Json = False,
) -> None:
    """Turn bare nodes into a herd that runs; a second run changes nothing."""
    _play("provision.yml", inventory, tags, limit, check, json, extra)


@app.command()
def start(inventory: Inventory, limit: Limit = "", json: Json = False) -> None:
    """Start the herd's units: memcached, agents, musters."""
    _play("playbooks/start.yml", inventory, None, limit, False, json)


@app.command()
def stop(inventory: Inventory, limit: Limit = "", json: Json = False) -> None:
    """Stop the herd's units; every muster puts its node back first."""
    _play("playbooks/stop.yml", inventory, None, limit, False, json)


@app.command()
def collect(inventory: Inventory, limit: Limit = "", json: Json = False) -> None:
    """Fetch logs and facts of all nodes."""
    _play("playbooks/collect.yml", inventory, None, limit, False, json)


@app.command()
def restore(
    inventory: Inventory, limit: Limit = "", extra: Extra = None, check: Check = False, json: Json = False
) -> None:
    """Put nodes back as provisioning found them: governor, SMT, turbo, irqbalance, boot entry.

    With -e restore_purge=true accounts, tools and sources go too.
    """
    _play("playbooks/restore.yml", inventory, None, limit, check, json, extra)


@app.command("inventory")
def make_inventory(
    source: Annotated[
        list[str], typer.Argument(metavar="MANIFEST.xml | HOST ...", help="A CloudLab manifest, or hosts.")
    ],
    to: Annotated[Path, typer.Option(help="The new inventory's folder.")],
    shepherd: Annotated[str, typer.Option(help="Shepherd and leader of the load; the first host unless given.")] = "",
    musters: Annotated[
        list[str] | None, typer.Option("--muster", help="A target node; repeat it. The second host unless given.")
    ] = None,
    agents: Annotated[
        list[str] | None, typer.Option("--agent", help="A host that makes load; repeat it. The others unless given.")
    ] = None,
    user: Annotated[str, typer.Option(help="The account to log in with; yours where the manifest has it.")] = "",
    network: Annotated[str, typer.Option(help="The experiment's network; the one that all nodes share.")] = "",
    without: Annotated[list[str] | None, typer.Option(help="A node of the manifest to leave out; repeat it.")] = None,
) -> None:
    """Make an inventory from the manifest that CloudLab's portal hands out, or from a list of hosts, and check it.

    A host is [NAME=][USER@]ADDRESS[:PORT]. What was left out, chosen or assumed is said on stderr.
    """
    from mustherd import files
    from mustherd.provision import project
    from mustherd.provision.inventory import InventoryError, from_names, parts_of, turns, write
    from mustherd.provision.manifest import from_manifest

    one = Path(source[0])
    if len(source) == 1 and (one.suffix in OF_FILES or one.is_file()):
        asker = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
        try:
            text = files.content(one, MOST_MANIFEST_BYTES)
        except OSError as error:
            raise typer.BadParameter(f"{one}: {error.strerror}", param_hint="MANIFEST.xml") from None
        try:
            nodes = from_manifest(text, user=user, asker=asker, network=network, without=without or ())
        except InventoryError as error:
            raise InventoryError(f"{one}: {error}") from None
    elif without:
        raise typer.BadParameter("only a manifest's nodes can be left out", param_hint="--without")
    else:
        nodes = from_names(source, user=user, network=network)
    folder = project.find().folder
    _, measured, loading = parts_of(nodes, shepherd=shepherd, musters=musters or (), agents=agents)
    written = write(nodes, to, project=folder, shepherd=shepherd, musters=measured, agents=loading)
    few = turns(measured, loading)
    for note in (*nodes.notes, *([few] if few else [])):
        typer.echo(f"note: {note}", err=True)
    typer.echo(written)
    _check(to)


def _knobs(muster: "MusterView") -> str:
    """A muster's knobs by name, with what each place holds where a decision is in force."""
    from mustherd.definition.knobs import value_text

    if not muster.in_force:
        return ", ".join(sorted({knob.name for knob in muster.knobs}))
    held: dict[str, set[str]] = {}
    for reading in muster.readings:
        value = "?" if reading.applied is None else value_text(reading.knob, reading.applied)
        held.setdefault(reading.knob, set()).add(value)
    return ", ".join(f"{knob} {'/'.join(sorted(values))}" for knob, values in sorted(held.items()))


def _check(inventory: Path) -> None:
    """Run the inventory's own check, which contacts no node; exit 3 with what it says, when it says something."""
    from mustherd.provision import project
    from mustherd.provision.runner import run

    outcome = run("playbooks/check_inventory.yml", inventory, project=project.find())
    for failure in outcome.failures:
        typer.echo(f"mustherd: {failure}", err=True)
    if outcome.failures or outcome.code:
        typer.echo(f"mustherd: {inventory} is written, and is to be corrected before it is used", err=True)
        raise typer.Exit(3)


def _play(
    playbook: str,
    inventory: Path,
    tags: list[str] | None,
    limit: str,
    check: bool,
    json: bool,
    extra: list[str] | None = None,
) -> None:
    """Run one of the project's playbooks, a line for each task; exit 3 when a host isn't done."""
    from mustherd.provision import project
    from mustherd.provision.runner import run

    progress = Progress()

    def tell(step: "Step") -> None:
        if step.state == "started":
            progress.tell(lambda: typer.echo(f"{step.play}: {step.task}", err=json))
        elif step.state not in ("ok", "skipped"):
            progress.tell(lambda: typer.echo(f"  {step.host}: {step.state}", err=json))

    variables = dict(word.partition("=")[::2] for word in extra or ())
    if not all(re.fullmatch(r"[A-Za-z_]\w*=.*", word, re.DOTALL) for word in extra or ()):
        raise typer.BadParameter("write NAME=VALUE", param_hint="--extra-vars")
    try:
        outcome = run(
            playbook,
            inventory,
            project=project.find(),
            tags=tags or (),
            limit=limit,
            extra_vars=variables,
            check=check,
            on_step=tell,
        )
    except KeyboardInterrupt:
        typer.echo("interrupted: what is done stays done; the same command goes on", err=True)
        raise typer.Exit(130) from None
    wrong = bool(outcome.failures or outcome.code)
    with ends_with(3 if wrong else 0):
        for failure in outcome.failures:
            aside(f"mustherd: {failure}")
        if json:
            failures = [{"host": f.host, "task": f.task, "message": f.message, "fix": f.fix} for f in outcome.failures]
            print_json({"code": outcome.code, "changed": outcome.changed, "failures": failures})
        else:
            progress.end()
            for host, changed in sorted(outcome.changed.items()):
                typer.echo(f"{host}: {changed} changed")
        for words in () if wrong else outcome.said:
            (aside if json else typer.echo)(words)


@app.command()
def keep(
    source: Annotated[Path, typer.Argument(metavar="TABLE|EXPERIMENT", help="A table of settings, or a folder.")],
    to: Annotated[Path, typer.Option(help="The keeper's folder: what it did and saved; it goes on from there.")],
    config: Annotated[Path | None, typer.Option(help="keep.yml: limit, shares, sources of signals.")] = None,
    inventory: Annotated[
        Path | None,
        typer.Option("--inventory", "-i", help="Musters of an inventory, which says where they connect and the keys."),
    ] = None,
    definition: Annotated[
        Path | None, typer.Option(help="Simulated or local musters of this definition, as a table names none.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Where musters of elsewhere connect, if not where the inventory says.")
    ] = None,
    ports: Annotated[str, typer.Option(help="Ports of pulse, log, control and coordinate, if others.")] = "",
    keys: Annotated[Path | None, typer.Option(help="Key folder with the shepherd's, if not the inventory's.")] = None,
    parent: Annotated[int, typer.Option(help="End when this process, the parent, ends.", hidden=True)] = 0,
    verbose: Verbose = False,
) -> None:
    """Keep a herd on learnt settings for as long as it serves: follow its load, guard its limit, re-tune, account."""
    from mustherd.cli.keep import run

    run(source, to=to, config=config, inventory=inventory, definition=definition, listen=listen, ports=ports, keys=keys,
        parent=parent, verbose=verbose)  # fmt: skip


@app.command()
def status(shepherd: Shepherd = None, keys: Keys = None, json: Json = False) -> None:
    """Say who is in the herd of a running shepherd, and how it is."""
    import msgspec

    from mustherd.cli.kept import kept_in, print_kept
    from mustherd.report.frame import emit, new_table

    herd = client(shepherd, keys).status()
    kept = kept_in(herd.folder)
    if json:
        print_json(msgspec.to_builtins(herd) | ({} if kept is None else {"kept": kept}))
        return
    terminal = console()
    table = new_table(terminal)
    for column in ("muster", "state", "heard", "decision in force", "knobs"):
        table.add_column(column)
    for muster in herd.musters:
        knobs = _knobs(muster)
        heard = f"{muster.silent_s:.1f} s ago"
        table.add_row(muster.name, muster.presence, heard, str(muster.in_force or "none"), knobs)
    emit(terminal, table)
    if herd.experiment and kept is None:
        terminal.print(f"experiment {herd.experiment} runs in {herd.folder}", markup=False, soft_wrap=True)
    if kept is not None:
        print_kept(kept, terminal)
    print_left(herd.musters, terminal)
    if herd.malformed:
        terminal.print(f"{herd.malformed} malformed frames were dropped")


@app.command()
def watch(
    shepherd: Shepherd = None,
    keys: Keys = None,
    web: Web = False,
    address: Address = LOOPBACK,
    port: Port = 0,
) -> None:
    """Watch the herd of a running shepherd until Ctrl-C; with --web an operator also sets knobs and puts nodes back."""
    if web:
        watch_herd(shepherd, keys, address, port)
        return
    import time

    with contextlib.suppress(KeyboardInterrupt):
        while True:
            status(shepherd, keys)
            time.sleep(LOOK_SECONDS)


def _row_parser() -> "node_doctor.Check":
    """What would parse log rows here; either does, in the same way."""
    from mustherd.node.linux.doctor import Check, Status
    from mustherd.rowlog import native

    try:
        found, status = native.why(), Status.OK
    except native.RowParserError as error:
        found, status = str(error), Status.WRONG
    return Check(name="row parser", status=status, found=found, wanted="c, or arrow", tag="mustherd")


@app.command()
def doctor(
    inventory: Annotated[
        Path | None,
        typer.Option("--inventory", "-i", help="Examine all nodes of this inventory, side by side."),
    ] = None,
    definition: Annotated[
        Path | None, typer.Option("--for", help="With -i: hold them to what this definition needs.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The muster's configuration, for its [linux] table.")] = None,
    wanted: Annotated[Path | None, typer.Option(help="TOML file with what to hold this node to; - for stdin.")] = None,
    json: Json = False,
) -> None:
    """Examine this node: each precondition of an experiment, what was found, what is wanted, and the tag that fixes it.

    Changes nothing. Exit code 1 when something is wrong; what can't be told doesn't fail.
    """
    if inventory is not None:
        from mustherd.cli.doctor import examine_herd

        return examine_herd(inventory, definition, json=json)
    import msgspec

    from mustherd import files
    from mustherd.muster.config import ConfigError, load
    from mustherd.node.linux.doctor import Wanted, examine, exit_code
    from mustherd.node.linux.options import LinuxOptions

    try:
        table_of = load(config).nodes.get("linux") if config is not None else None
        options = msgspec.convert(table_of or {}, LinuxOptions)
        if wanted == Path("-"):
            text = sys.stdin.buffer.read(MOST_WANTED_BYTES)
        else:
            text = files.content(wanted, MOST_WANTED_BYTES) if wanted is not None else b""
        hold = msgspec.toml.decode(text, type=Wanted)
    except (msgspec.DecodeError, OSError) as error:
        raise ConfigError(f"{wanted or config}: {error}") from None
    checks = (*examine(options, hold), _row_parser())
    with ends_with(exit_code(checks)):
        _print(checks, json=json)
    return None


def _print(checks: "Sequence[node_doctor.Check]", *, json: bool) -> None:
    import msgspec
    from rich.text import Text

    from mustherd.node.linux.doctor import Status
    from mustherd.report.frame import emit, new_table

    if json:
        print_json(msgspec.to_builtins(checks))
        return
    terminal = console()
    styles = {Status.OK: "green", Status.WRONG: "red", Status.UNKNOWN: "yellow"}
    table = new_table(terminal)
    for column in ("", "check", "found", "wanted", "fixes it"):
        table.add_column(column)
    for check in checks:
        fix = "" if check.status is Status.OK else f"--tags {check.tag}"
        table.add_row(Text(check.status, style=styles[check.status]), check.name, check.found, check.wanted, fix)
    emit(terminal, table)
