"""make test-faults: campaigns of attacks until the minutes are over, told as they go, kept as JSON and as a table.

As root it works in namespaces of its own for mounts and network, so that its disks and cables go with it.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.faults import attacks, by_hand, experiment, stall, table
from tests.faults.campaign import Campaign, on_a_herd
from tests.faults.experiment import on_an_experiment

HERD_S, EXPERIMENT_S = 200.0, 100.0
"""How long a herd is attacked before another one is made."""

OWN = "FAULTS_OWN_MOUNTS"


def main() -> int:
    """Run campaigns; 1 when something was not as promised."""
    parser = argparse.ArgumentParser(prog="make test-faults")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--only", action="append", help="one event of this attack; again for more")
    parser.add_argument("--json", type=Path, default=Path("faults.json"))
    parser.add_argument("--table", type=Path, default=None)
    parser.add_argument("--earlier", type=Path, action="append", help="JSON of a campaign that the table tells of too")
    parser.add_argument("--fuzz", type=Path, action="append", help="the JSON of make test-fuzz; again for more")
    parser.add_argument("--hand", type=Path, action="append", help="the JSON of make test-attacks; later ones count")
    parser.add_argument("--crowd", type=Path, default=None, help="the JSON of make bench NAME=thousand_musters")
    options = parser.parse_args()
    as_root = os.geteuid() == 0
    if as_root and not os.environ.get(OWN):
        command = [
            "unshare",
            "--mount",
            "--net",
            "--propagation",
            "private",
            sys.executable,
            "-m",
            "tests.faults",
            *sys.argv[1:],
        ]
        os.execvpe(command[0], command, {**os.environ, OWN: "1"})  # noqa: S606 (no shell is wanted)
    if not options.minutes:
        _write_table(options, [])
        return 0
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    _tell(f"seed {seed}: the same events again by make test-faults SEED={seed} MINUTES={options.minutes:g}")
    if not as_root:
        _tell(f"not as root: left out are these: {'; '.join(needs_root())}")
    # Who was started in the background ignores it, and so would all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What it made is cleared away when its time is over, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    stall.watch()
    home = Path(tempfile.mkdtemp(prefix="faults-", dir="/var/tmp"))
    home.chmod(0o700)
    came: list[Campaign] = []
    began = time.monotonic()
    try:
        while (left := 60 * options.minutes - (time.monotonic() - began)) > 20 or not came:
            number = len(came)
            attack, until_s = (on_a_herd, HERD_S) if number % 2 == 0 else (on_an_experiment, EXPERIMENT_S)
            until_s = min(until_s, left if number else 0.6 * left)
            where, own_seed = home / f"{number}", seed + number // 2
            came.append(attack(where, own_seed, until_s=until_s, as_root=as_root, only=options.only, tell=_tell))
            for fault in came[-1].faults:
                _tell(f"the whole: {fault}")
            if options.only and number:
                break
    finally:
        told = [one.as_json() for one in came if one.outcomes or one.faults]
        options.json.write_text(json.dumps(told, indent=1) + "\n")
        if options.table is not None:
            _write_table(options, told)
        if any(one.failed for one in came):
            _tell(f"logs are kept in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    events = sum(len(one.outcomes) for one in came)
    failed = sum(bool(o.faults) for one in came for o in one.outcomes)
    _tell(f"seed {seed}: {events} events, {failed} with faults; {options.json}")
    if not events:
        _tell("no attack was made: the time was over before a herd was whole")
    return int(not events or any(one.failed for one in came))


def _write_table(options: argparse.Namespace, told: list[dict[str, Any]]) -> None:
    crowd = json.loads(options.crowd.read_text()) if options.crowd is not None else None
    hand = [one for file in options.hand or () for one in json.loads(file.read_text())]
    fuzz = [one for file in options.fuzz or () for one in json.loads(file.read_text())]
    earlier = [one for file in options.earlier or () for one in json.loads(file.read_text())]
    every = (*attacks.ATTACKS, *experiment.ATTACKS)
    page = table.lines([*earlier, *told], every, crowd, fuzz, (by_hand.numbered(), hand))
    options.table.write_text("".join(page))


def needs_root() -> list[str]:
    """Names of the attacks that only root can make: on disks and networks of their own."""
    return [attack.kind.name for attack in (*attacks.ATTACKS, *experiment.ATTACKS) if attack.as_root]


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
