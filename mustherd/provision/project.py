"""Where playbooks, roles and what is known of each kind of machine are: in a checkout, or in the installed package."""

from dataclasses import dataclass
from pathlib import Path

PACKAGED = Path(__file__).parents[1] / "project"
"""Where the wheel has them; pyproject.toml says which files go there."""


@dataclass(frozen=True)
class Project:
    """What a herd is provisioned from."""

    folder: Path
    """Has provision.yml, playbooks, roles, inventory and the lock file."""
    workplace: Path
    """Where keys, archives and artifacts are kept: the checkout, else the folder that the command was given in."""


def find(here: Path | None = None) -> Project:
    """The checkout at `here` (the current folder), else the one that the package runs from, else the installed one."""
    here = here or Path.cwd()
    for folder in (here, PACKAGED.parents[1]):
        if (folder / "provision.yml").is_file() and (folder / "roles").is_dir():
            return Project(folder, folder)
    return Project(PACKAGED, here)
