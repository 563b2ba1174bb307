"""Python files of roles, which are no package, as modules."""

import atexit
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROLES = Path(__file__).parents[2] / "roles"
MADE = tempfile.TemporaryDirectory(prefix="mustherd-roles-")
"""Folders of modules as one file each, which this process has asked for."""
atexit.register(MADE.cleanup)


def load(path: str) -> ModuleType:
    """The module in `roles/PATH`, or, of a folder of modules, the one file that a node is given of them."""
    name = "roles_" + Path(path).stem
    if name not in sys.modules:
        file = ROLES / path
        if file.is_dir():
            text = program(path)
            file = Path(MADE.name, f"{file.name}.py")
            file.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def program(path: str) -> str:
    """The folder of modules `roles/PATH` as one file."""
    return str(load("common/filter_plugins/mustherd_program.py").program(str(ROLES / path)))
