#!/bin/sh
# An experiment as a CI job, for any CI that runs a shell: from the checkout's folder, with an inventory and a definition.
# Ends with 0 when the verdict is met; the experiment's folder and its report lie in experiments/. Called again, it comes
# back to the experiment that it left running.
set -eu
inventory=${INVENTORY:?an inventory, as in inventory/cloudlab}
definition=${DEFINITION:?a definition, as in examples/reference-search.yml}
make setup
PATH="$PWD/.venv/bin:$PATH" ansible-runner run . --project-dir . --inventory "$inventory" -p playbooks/experiment.yml \
    --cmdline "-e experiment_definition=$PWD/$definition -e experiment_minutes=${MINUTES:-240}"
