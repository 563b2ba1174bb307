"""An experiment on disk: one folder, one SQLite database, one owner."""

from pathlib import Path

EXPERIMENTS = Path("experiments")
"""Where new experiments go unless they are told where, in the current folder."""
DEFINITION = "experiment.yml"
"""The definition in an experiment's folder."""
