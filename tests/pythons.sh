#!/usr/bin/env bash
# The tests that start no processes of ours, on every newer Python that this machine has beside the one of .venv: a
# release may warn about, or refuse, what another takes. tests/newcomer/installing.py finds the interpreters.
set -euo pipefail
cd "$(dirname "$0")/.."
ran=0
while read -r version python; do
    [ "$version" != "$(.venv/bin/python -c 'import sys; print(*sys.version_info[:2], sep=".")')" ] || continue
    make --no-print-directory setup PYTHON="$python" VENV=".venv-$version"
    echo "tests on $(".venv-$version/bin/python" --version)"
    ".venv-$version/bin/pytest" -q -m "not process" </dev/null
    ran=$((ran + 1))
done < <(.venv/bin/python -m tests.newcomer.installing)
echo "tests passed on $ran other Pythons"
