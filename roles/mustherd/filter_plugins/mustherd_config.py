"""What the muster's configuration and its unit take of variables, read as the inventory's check reads them."""

import runpy
from pathlib import Path
from typing import Any

VALUES = runpy.run_path(str(Path(__file__).resolve().parents[2] / "common/filter_plugins/mustherd_values.py"))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"mustherd_cores": VALUES["cores"]}
