"""make test-fuzz: mutated input for every reader and every port, for some seconds each; the seed is printed."""

import argparse
import json
import random
import sys
from pathlib import Path

from tests.fuzz import run
from tests.fuzz.ports import NAMES
from tests.fuzz.ports import run as run_on_port


def main() -> int:
    """Run all targets, or those named; 1 when one shows a fault."""
    parser = argparse.ArgumentParser(prog="make test-fuzz")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each target")
    parser.add_argument("--count", type=int, default=10**6, help="inputs for each target at most")
    parser.add_argument("--only", action="append")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}: the same inputs again by make test-fuzz SEED={seed}", flush=True)
    keep = Path("fuzz-failures")
    results = []
    for name in options.only or [*run.names(), *NAMES]:
        result = (run_on_port if name in NAMES else run.run)(
            name, seed, seconds=options.seconds, count=options.count, keep=keep
        )
        results.append(result)
        print(
            f"{name}: {result.inputs} inputs, {result.accepted} taken, slowest {result.slowest_s} s, memory"
            f" +{result.growth_mib} MiB, {len(result.faults)} faults",
            flush=True,
        )
        for fault in result.faults:
            print(f"    {fault}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([result.__dict__ for result in results], indent=1) + "\n")
    return int(any(result.faults for result in results))


if __name__ == "__main__":
    sys.exit(main())
