"""Builds the row parser where a C compiler is: mustherd/rowlog/rows.c. Without one the package is the same, but slower.

MUSTHERD_PURE=1 leaves it out, for a wheel that goes to machines of another kind.
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE, LIBRARY = "mustherd/rowlog/rows.c", "mustherd/rowlog/_rows.so"


class RowParser(BuildHookInterface[Any]):
    """Compiles one file that needs no library, Python's included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        library = Path(self.root, LIBRARY)
        library.unlink(missing_ok=True)
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None or os.environ.get("MUSTHERD_PURE") == "1":
            return
        draft = library.with_name(f"{library.name}.{os.getpid()}")
        flags = ["-O3", "-std=c11", "-shared", "-fPIC", "-nostdlib", "-Wl,--build-id=none"]
        done = subprocess.run(
            [compiler, *flags, "-o", str(draft), str(Path(self.root, SOURCE))], capture_output=True, check=False
        )
        if done.returncode:
            draft.unlink(missing_ok=True)
            self.app.display_warning(f"the row parser was not built: {done.stderr.decode(errors='replace')[-300:]}")
            return
        draft.replace(library)
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
