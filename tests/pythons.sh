#!/usr/bin/env bash
# The tests that start no processes of ours, on every newer Python that this machine has beside the one of .venv: a
# release may warn about, or refuse, what another takes. Interpreters are looked for on PATH and among pyenv's.
set -euo pipefail
cd "$(dirname "$0")/.."
ran=0
for version in 3.12 3.13; do
    for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python3; do
        "$python" -c 'import sys, venv, ensurepip' >/dev/null 2>&1 || continue
        make --no-print-directory setup PYTHON="$python" VENV=".venv-$version"
        echo "tests on $(".venv-$version/bin/python" --version)"
        ".venv-$version/bin/pytest" -q -m "not process"
        ran=$((ran + 1))
        break
    done
done
echo "tests passed on $ran other Pythons"
