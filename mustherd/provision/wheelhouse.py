"""Everything that a node's own environment is made of, as one archive made on the control machine.

A node installs from it without any registry: the project's wheel, and the locked wheels of what it needs, fetched once
and checked against the hashes of requirements.lock. `python -m mustherd.provision.wheelhouse` prints one JSON object.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mustherd import files
from mustherd.errors import UserError
from mustherd.extras import PROVISION
from mustherd.provision.project import PACKAGED

MUSTER = ("msgspec", "pyzmq", "typer")
"""What a muster imports; a shepherd takes everything that the project depends on."""

GLIBC = (34, 31, 28, 27, 26, 24, 17, 12, 5)
"""Minor versions of the C library whose wheels run on the oldest supported node, RHEL 9 (2.34); PEP 600."""

Environment = Mapping[str, str]


class WheelhouseError(UserError):
    """The archive cannot be made; the message says what is wrong and the fix."""


def environment_of(python: str, machine: str) -> dict[str, str]:
    """Marker values of a node that runs `python` (such as 3.12) on `machine`; PEP 508."""
    base = {key: str(value) for key, value in default_environment().items()}
    return base | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
    }


def closure(roots: Iterable[str], environment: Environment) -> list[str]:
    """Canonical names of `roots` and all that they need, by the metadata of what is installed here."""
    found: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        try:
            needs = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            raise WheelhouseError(f"{name} is not installed on this machine; fix: make setup") from None
        extras = requirement.extras or {""}
        for text in needs:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({**environment, "extra": extra}) for extra in extras):
                waiting.append(need)
    return sorted(found)


def locked(lock: str, names: Iterable[str], environment: Environment) -> str:
    """The part of a lock file that pins `names` for `environment`, hashes included."""
    blocks: dict[str, str] = {}
    for match in re.finditer(r"^(\S.*?)(?=^\S|\Z)", lock, flags=re.MULTILINE | re.DOTALL):
        block = match[1]
        if block.startswith(("#", "-")):
            continue
        requirement = Requirement(block.partition("\\")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
            blocks[canonicalize_name(requirement.name)] = "\n".join(lines).rstrip("\\\n ") + "\n"
    missing = [name for name in names if name not in blocks]
    if missing:
        raise WheelhouseError(f"requirements.lock does not pin {', '.join(missing)}; fix: make lock")
    return "".join(blocks[name] for name in names)


def source_digest(project: Path) -> str:
    """Digest of what the project's wheel is made from."""
    root = PACKAGED.parents[1] if project == PACKAGED else project
    digest = hashlib.sha256((project / "pyproject.toml").read_bytes())
    for path in sorted((root / "mustherd").rglob("*")):
        # The row parser in C follows from its source.
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so":
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def repacked(folder: Path) -> Path:
    """A wheel of the package as it is installed here, made in `folder`.

    Raises WheelhouseError for one that is installed in a way that leaves its files elsewhere. The format is that of the
    binary distribution specification (packaging.python.org), version 1.0.
    """
    found = importlib.metadata.distribution("mustherd")
    known = [Path(str(file)) for file in found.files or ()]
    kept = [
        file
        for file in known
        if file.parts[0] in ("mustherd", f"mustherd-{found.version}.dist-info")
        and "__pycache__" not in file.parts
        and file.name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    ]
    if Path("mustherd/__init__.py") not in kept:
        raise WheelhouseError("the package runs from a checkout that is not here; fix: run from the checkout")
    wheel = folder / f"mustherd-{found.version}-py3-none-any.whl"
    record = f"mustherd-{found.version}.dist-info/RECORD"
    lines = [f"{record},,"]
    with zipfile.ZipFile(wheel, "x", zipfile.ZIP_DEFLATED) as archive:
        for file in kept:
            content = Path(str(found.locate_file(file))).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{file},sha256={digest},{len(content)}")
            archive.writestr(str(file), content)
        archive.writestr(record, "\n".join(sorted(lines)) + "\n")
    return wheel


def pins(project: Path, environment: Environment, whole: bool) -> str:
    """The part of the lock file that such a node gets; `whole`: all that a shepherd needs, not only a muster."""
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # A shepherd's node reads inventories, and reaches the machines that make the load.
    roots = [*declared["dependencies"], *declared.get("optional-dependencies", {}).get(PROVISION, ())]
    lock = (project / "requirements.lock").read_text(encoding="utf-8")
    return locked(lock, closure(roots if whole else MUSTER, environment), environment)


def make(project: Path, to: Path, python: str, machine: str, whole: bool) -> dict[str, str | bool]:
    """Make the archive for nodes that run `python`, unless it is there.

    Returns `archive` (a tar of wheels), `id` (what it was made from; the name of the node's environment), and `made`.
    """
    environment = environment_of(python, machine)
    pinned = pins(project, environment, whole)
    source = source_digest(project)
    key = hashlib.sha256(f"{source}\n{python} {machine}\n{pinned}".encode()).hexdigest()[:16]
    archive = to / f"mustherd-{key}.tar"
    if archive.exists():
        return {"archive": str(archive), "id": key, "made": False}
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to) as name:
        folder = Path(name)
        if project == PACKAGED:
            repacked(folder)
        else:
            # What is compiled here runs on machines of this kind alone.
            more = {} if machine == platform.machine() else {"MUSTHERD_PURE": "1"}
            _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", name, str(project), more=more)
        _download(pinned, to / f"wheels-{python}-{machine}", folder, python, machine)
        with files.draft(archive) as draft, tarfile.open(draft, "x") as tar:
            for wheel in sorted(folder.glob("*.whl")):
                tar.add(wheel, arcname=wheel.name)
    return {"archive": str(archive), "id": key, "made": True}


def _download(pins: str, cache: Path, folder: Path, python: str, machine: str) -> None:
    """Fetch what `pins` names into `cache`, where it may be already, and link it into `folder`."""
    cache.mkdir(exist_ok=True)
    listed = cache / f"{hashlib.sha256(pins.encode()).hexdigest()[:16]}.json"
    if not listed.exists():
        with tempfile.TemporaryDirectory(dir=cache) as name:
            file = Path(name) / "pins.txt"
            file.write_text(pins, encoding="utf-8")
            platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
            platforms += [f"manylinux{old}_{machine}" for old in ("2014", "2010", "1")] + [f"linux_{machine}"]
            _pip(
                "download",
                *("--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation=cp"),
                f"--python-version={python}",
                *(f"--platform={platform}" for platform in platforms),
                *("--dest", name, "--find-links", str(cache), "--requirement", str(file)),
            )
            wheels = sorted(path.name for path in Path(name).glob("*.whl"))
            for wheel in wheels:
                (Path(name) / wheel).replace(cache / wheel)
            files.replace(listed, json.dumps(wheels))
    for wheel in json.loads(listed.read_text(encoding="utf-8")):
        (folder / wheel).hardlink_to(cache / wheel)


def _pip(*arguments: str, more: Mapping[str, str] = MappingProxyType({})) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    answer = subprocess.run(command, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    if answer.returncode:
        last = answer.stderr.strip().splitlines()[-3:] or ["no message"]
        raise WheelhouseError(
            f"pip {arguments[0]}: {' '.join(last)}; fix: make setup, and reach a package registry from this machine"
        )


def main(arguments: list[str] | None = None) -> int:
    """Make the archive and print where it is, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m mustherd.provision.wheelhouse", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--to", type=Path, default=Path("build/nodes"))
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--machine", default="x86_64")
    parser.add_argument("--whole", action="store_true", help="everything, not only what a muster needs")
    parser.add_argument(
        "--pins", action="store_true", help="only print what the package stands on, as the lock pins it"
    )
    given = parser.parse_args(arguments)
    try:
        if given.pins:
            sys.stdout.write(pins(given.project.resolve(), environment_of(given.python, given.machine), whole=True))
            return 0
        made = make(given.project.resolve(), given.to.resolve(), given.python, given.machine, given.whole)
    except WheelhouseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
