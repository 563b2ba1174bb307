"""Where the recorded measurements lie that tests and benchmarks read and the project never contains."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def path(name: str) -> Path:
    """The file `name` of the recorded data, below $MUSTHERD_DATA or beside the checkout.

    FileNotFoundError says how to fix it.
    """
    folder = Path(os.environ.get("MUSTHERD_DATA", ROOT.parent / "shared" / "data"))
    found = folder / name
    if not found.exists():
        raise FileNotFoundError(f"recorded data {found} is missing: set MUSTHERD_DATA to the folder that holds {name}")
    return found
