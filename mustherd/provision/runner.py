"""Playbooks run from Python, through ansible-runner."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mustherd.errors import UserError
from mustherd.extras import PROVISION, need
from mustherd.provision.failures import Failure, Step, failure_of, step_of
from mustherd.provision.project import Project

log = logging.getLogger(__name__)

KEPT_RUNS = 20
"""Runs whose artifacts are kept; the oldest go first."""

NEXT = "Say what to do next"
"""The name of tasks whose message is for whoever ran the playbook."""


class ProvisionError(UserError):
    """A playbook cannot be run at all; the message says what is missing and the fix."""


@dataclass(frozen=True)
class PlaybookResult:
    """How a run ended."""

    code: int
    failures: tuple[Failure, ...]
    """One per host that is not done, by host."""
    changed: dict[str, int]
    """How many tasks changed something, by host."""
    artifacts: Path
    said: tuple[str, ...] = ()
    """What the playbook has to say to whoever ran it: what its tasks called `Say what to do next` print."""


def run(
    playbook: str,
    inventory: Path,
    *,
    project: Project | Path,
    tags: Sequence[str] = (),
    limit: str = "",
    extra_vars: Mapping[str, Any] | None = None,
    check: bool = False,
    on_step: Callable[[Step], None] = lambda _step: None,
    artifacts: Path | None = None,
) -> PlaybookResult:
    """Run `playbook` (a path within the project's folder) on the hosts of `inventory`.

    A folder alone is a project that keeps its artifacts in itself.

    `on_step` is called for each task as it starts and for each host as it is done with it. Raises ProvisionError, and
    KeyboardInterrupt after the run has been stopped by Ctrl-C.
    """
    need(PROVISION, "ansible", "ansible_runner")
    # It takes a while to import, and signals are its to take only during a run.
    import ansible_runner  # type: ignore[import-untyped]  # noqa: PLC0415

    if isinstance(project, Path):
        project = Project(project, project)
    for needed, what in ((project.folder / playbook, "playbook"), (inventory, "inventory")):
        if not needed.exists():
            raise ProvisionError(f"{needed}: no such {what}; fix: give the path of one")
    last: dict[str, Failure] = {}
    said: list[str] = []

    def handle(event: dict[str, Any]) -> bool:
        failure = failure_of(event)
        if failure is not None:
            last[failure.host] = failure
        step = step_of(event)
        if step is not None:
            log.debug("ansible: %s: %s: %s %s", step.play, step.task, step.host, step.state)
            on_step(step)
            if step.state == "ok" and step.task.endswith(NEXT):
                said.append(" ".join(str((event["event_data"].get("res") or {}).get("msg", "")).split()))
        return True

    keep = artifacts or project.workplace / "artifacts"
    # What tasks print is for whoever ran them.
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = [*(["--tags", ",".join(tags)] if tags else []), *(["--check", "--diff"] if check else [])]
    with signals_given_back(), tempfile.TemporaryDirectory(prefix="mustherd-") as private:
        answer = ansible_runner.run(
            private_data_dir=private,
            project_dir=str(project.folder.resolve()),
            artifact_dir=str(keep.resolve()),
            rotate_artifacts=KEPT_RUNS,
            status_handler=_keep_environment_untold,
            playbook=playbook,
            inventory=str(inventory.resolve()),
            limit=limit or None,
            extravars={"herd_workplace": str(project.workplace.resolve()), **(extra_vars or {})},
            cmdline=" ".join(words) or None,
            envvars={
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_CONFIG": str((project.folder / "ansible.cfg").resolve()),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            },
            event_handler=handle,
            quiet=True,
        )
    if answer.status == "canceled":
        raise KeyboardInterrupt
    stats: Mapping[str, Mapping[str, int]] = answer.stats or {}
    # A failure that a rescue answered counts for nothing: the statistics know which hosts are not done.
    undone = sorted({*(stats.get("failures") or {}), *(stats.get("dark") or {})})
    failures = [last.get(host) or Failure(host, "", "failed without a message", "see the artifacts") for host in undone]
    if answer.rc and not failures:
        failures = [_without_hosts(answer)]
    return PlaybookResult(
        answer.rc, tuple(failures), dict(stats.get("changed") or {}), Path(answer.config.artifact_dir), tuple(said)
    )


@contextlib.contextmanager
def signals_given_back() -> Iterator[None]:
    """Give SIGINT and SIGTERM their handlers again: ansible-runner takes them over, in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


class _Untold(dict[str, str]):
    """An environment that a process gets and that is written down as empty."""

    def __bool__(self) -> bool:
        return False


def _keep_environment_untold(status: Mapping[str, Any], runner_config: Any) -> None:
    """Before ansible-runner keeps the command that it runs, with the user's environment and all secrets in it."""
    if status.get("status") == "starting":
        runner_config.env = _Untold(runner_config.env)


def _without_hosts(answer: Any) -> Failure:
    """Why a run ended before any host was asked: a broken inventory, a host pattern that matches nothing."""
    with answer.stdout as file:
        lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("[ERROR]", "ERROR!", "[WARNING]"))] or lines[-3:]
    return Failure(
        "localhost",
        "reading playbook and inventory",
        " ".join(telling[:3]) or f"ansible-playbook ended with {answer.rc} and no word",
        "correct the inventory or the options; ansible-inventory -i INVENTORY --list shows how it is read",
    )
