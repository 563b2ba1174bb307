"""Print one benchmark's result as one JSON object: python -m tests.benchmarks NAME."""

import importlib
import json
import pkgutil
import sys

from tests import benchmarks


def main() -> int:
    names = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        print(f"usage: make bench NAME=one of {', '.join(names)}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"tests.benchmarks.{sys.argv[1]}")
    found = module.run()
    print(json.dumps(found, indent=2))
    # A benchmark that holds its figures against promises says so.
    return 0 if found.get("passed", True) else 1


if __name__ == "__main__":
    sys.exit(main())
