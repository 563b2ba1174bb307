"""The Pythons of this machine, the wheel as it is released, and a fresh environment with it: by pip, or by uv."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 11)
MINORS = range(OLDEST[1], 20)
ASK = "import sys, venv, ensurepip; print(*sys.version_info[:2])"


def interpreters() -> dict[str, Path]:
    """Each minor version from 3.11 on to an interpreter of it with venv and pip: on PATH, else among pyenv's."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found: dict[str, Path] = {}
    for minor in MINORS:
        name = f"{OLDEST[0]}.{minor}"
        on_path = [Path(folder, f"python{name}") for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
        for python in (*on_path, *sorted(versions.glob(f"{name}.*/bin/python3"))):
            if _version(python) == name:
                found[name] = python
                break
    return found


def _version(python: Path) -> str:
    """Of an interpreter that runs and can make environments; else nothing."""
    try:
        asked = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ".".join(asked.stdout.split()) if asked.returncode == 0 else ""


def plain() -> dict[str, str]:
    """This process's environment without what would lead a newcomer back to a checkout or its environment."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in own}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with Path(folder, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(into: Path) -> Path:
    """The wheel, built from the source archive and not from the checkout; made once for all who ask with one folder."""
    into = into.resolve()
    with _alone(into):
        if not (made := list(into.glob("*.whl"))):
            _hatchling("sdist", ROOT, into)
            with tarfile.open(next(into.glob("*.tar.gz"))) as archive:
                archive.extractall(into / "unpacked", filter="data")
            _hatchling("wheel", next((into / "unpacked").iterdir()), into)
            made = list(into.glob("*.whl"))
    return made[0]


def _hatchling(kind: str, source: Path, into: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", into],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uv(folder: Path) -> Path:
    """A uv: this machine's, or one that is fetched as the package that it is."""
    found = shutil.which("uv")
    if found:
        return Path(found)
    with _alone(folder):
        if not (folder / "bin/uv").exists():
            _run(sys.executable, "-m", "venv", folder)
            _run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    return folder / "bin/uv"


def install(python: Path, wheel: Path, into: Path, *, uv: Path | None = None, extras: str = "") -> Mapping[str, str]:
    """A fresh environment with the wheel and what it depends on; gives the environment in which it is used."""
    wanted = f"{wheel}{extras}"
    if uv is None:
        _run(python, "-m", "venv", into)
        _run(into / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wanted)
    else:
        _run(uv, "venv", "--quiet", "--python", python, into)
        _run(uv, "pip", "install", "--quiet", "--python", into / "bin/python", wanted)
    return {**plain(), "PATH": f"{into / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def _run(*words: str | Path) -> None:
    done = subprocess.run(words, env=plain(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    for version, python in interpreters().items():
        print(version, python)
