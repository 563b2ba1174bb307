#!/usr/bin/python3
"""Units of systemd in one call: started and enabled, or restarted where they run.

    python3 - start [--look] UNIT ...    have them run now and at every boot, and see whether they stay up
    python3 - restart UNIT ...           have systemd read their files again; restart those that run

Prints each unit that was not so. Exit code 1 with what their journals say, where some do not stay up. With --look
nothing is changed. Only the standard library: it runs on a bare node's Python.
"""

from __future__ import annotations  # an old node's Python reads these types as text

import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOOKS = 6
PAUSE_S = 1.0
"""What dies as soon as it has started is seen by the first look; what is started again by systemd has a few more."""
RUNS = {"ActiveState": "active", "UnitFileState": "enabled"}


def systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    """Its answer, whatever its exit code."""
    return subprocess.run(["systemctl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def states(units: Sequence[str]) -> Sequence[Mapping[str, str]]:
    """What systemd says of each unit, in their order."""
    said = systemctl("show", "--property=ActiveState,UnitFileState,NeedDaemonReload", *units).stdout
    parts = [dict(line.split("=", 1) for line in part.splitlines() if "=" in line) for part in said.split("\n\n")]
    return [*parts, *({} for _ in units)][: len(units)]


def down(units: Sequence[str]) -> list[str]:
    """Those that do not run."""
    return [unit for unit, state in zip(units, states(units)) if state.get("ActiveState") != "active"]  # noqa: B905


def start(units: Sequence[str], *, look: bool) -> int:
    """Start and enable what is not; gives the exit code."""
    found = states(units)
    due = [unit for unit, state in zip(units, found) if any(state.get(key) != RUNS[key] for key in RUNS)]  # noqa: B905
    if look:
        print("\n".join(due), end="")  # noqa: T201
        return 0
    if not due and not any(state.get("NeedDaemonReload") == "yes" for state in found):
        return 0
    systemctl("daemon-reload")
    said = systemctl("enable", "--now", *due).stderr.strip() if due else ""
    print("\n".join(due))  # noqa: T201
    failed = list(units)
    for _ in range(LOOKS):
        time.sleep(PAUSE_S)
        failed = down(units)
        if not failed:
            return 0
    why = [journal(unit) for unit in failed]
    print(f"{', '.join(failed)} did not stay up: {' '.join(filter(None, why)) or said}", file=sys.stderr)  # noqa: T201
    return 1


def journal(unit: str) -> str:
    """The last that a unit said."""
    command = ["journalctl", "--unit", unit, "--lines=3", "--output=cat", "--no-pager"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return done.stdout.decode("utf-8", "replace").strip()


def restart(units: Sequence[str]) -> int:
    """Restart what runs, and what does not stays so; gives the exit code."""
    systemctl("daemon-reload")
    stopped = down(units)
    running = [unit for unit in units if unit not in stopped]
    done = systemctl("restart", *running) if running else None
    print("\n".join(running))  # noqa: T201
    if done is not None and done.returncode:
        print(done.stderr.strip(), file=sys.stderr)  # noqa: T201
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    verb, *words = sys.argv[1:] if arguments is None else arguments
    units = [word for word in words if word != "--look"]
    return start(units, look="--look" in words) if verb == "start" else restart(units)


if __name__ == "__main__":
    sys.exit(main())
