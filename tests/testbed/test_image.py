"""The image's file system, built by its own steps and booted as containers: a shepherd and a muster, as pods have them.

No registry is asked: the base is the test bed's own Debian, packages come from a folder of wheels, and systemd-nspawn
stands for Kubernetes. Secrets lie in folders that are open to all, as Kubernetes mounts them.
"""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.shepherd import operate
from mustherd.testbed.images import root_file_system
from mustherd.wire import keys
from mustherd.wire.endpoints import WireError
from mustherd.wire.ports import Ports
from tests.herding import shepherd

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
NODE = "node-1"
MUSTER = f"muster-{NODE}"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of the image."""
    folder = tmp_path_factory.mktemp("image")
    context, wheels = folder / "context", folder / "wheels"
    context.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(context), str(ROOT)]
    subprocess.run([*pip, *built], check=True)
    for file in ("requirements.lock", "deploy/image/install.sh", "deploy/image/pod.sh"):
        shutil.copy(ROOT / file, context)
    [wheel] = context.glob("*.whl")
    pins = folder / "pins.txt"
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    pins.write_text("".join(line.split("\\")[0].rstrip() + "\n" for line in lock if line[:1].isalpha()))
    subprocess.run([*pip, "download", "--dest", str(wheels), "--constraint", str(pins), str(wheel)], check=True)
    root, over, work = (folder / name for name in ("root", "over", "work"))
    for one in (root, over, work):
        one.mkdir()
    layers = f"lowerdir={root_file_system('bookworm')},upperdir={over},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(root)], check=True)
    try:
        within = "/opt/mustherd-image"
        shutil.copytree(context, root / within[1:])
        more = [f"--bind-ro={wheels}:/wheels", "--setenv=PIP_NO_INDEX=1", "--setenv=PIP_FIND_LINKS=/wheels"]
        subprocess.run(["systemd-nspawn", *quiet(root), *more, "/bin/sh", f"{within}/install.sh"], check=True)
        assert not (root / within[1:]).exists()
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def quiet(root: Path) -> list[str]:
    return ["--quiet", "--pipe", "--register=no", "--keep-unit", "--directory", str(root)]


def pod(
    root: Path, name: str, *words: str, secrets: dict[str, Path], state: Path, more: tuple[str, ...] = ()
) -> "subprocess.Popen[bytes]":
    """A container of the image whose own file system is read only; `secrets` are folders or files by where they are."""
    binds = [f"--bind-ro={there}:{here}" for here, there in secrets.items()]
    command = [
        *("systemd-nspawn", *quiet(root), f"--machine={name}", "--kill-signal=SIGTERM", "--read-only", "--tmpfs=/tmp"),
        # Open to all, as a volume of the pod comes.
        "--tmpfs=/run/mustherd-pod:mode=0777",
        *(f"--bind={state}:/var/lib/mustherd", "--chdir=/var/lib/mustherd", *binds, *more, "mustherd-pod", *words),
    ]
    return subprocess.Popen(command)


def secret(folder: Path, *files: Path) -> Path:
    """Files as Kubernetes mounts a Secret: behind links, in a folder that everybody may write to."""
    data = folder / "..2026"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to("..2026")
    for file in files:
        shutil.copy(file, data / file.name)
        (data / file.name).chmod(0o400)
        (folder / file.name).symlink_to(Path("..data", file.name))
    folder.chmod(0o1777)
    return folder


def test_a_shepherd_and_a_muster_of_the_image_meet(image: Path, tmp_path: Path) -> None:
    made = tmp_path / "keys"
    keys.create(made, ["shepherd", MUSTER, "operator"])
    with shepherd() as (_, ports):
        pass
    shared = secret(tmp_path / "public", made / "shepherd.key")
    own = secret(tmp_path / "own", made / "shepherd.key", made / "shepherd.key_secret")
    accepted = secret(tmp_path / "accepted", *(made / keys.ACCEPTED).iterdir())
    node = tmp_path / "node"
    node.mkdir()
    (node / "muster.toml").write_text(
        "[ports]\n"
        + "".join(f"{name} = {getattr(ports, name)}\n" for name in Ports.__struct_fields__)
        + '\n[ranges.itr-delay]\nlow = 2\nhigh = 400\n\n[twin]\nprofile = "c6220"\n'
    )
    for part in ("shepherd", "muster"):
        (tmp_path / f"state-{part}").mkdir()
    numbers = ",".join(str(getattr(ports, name)) for name in Ports.__struct_fields__)
    started = [
        pod(
            image, "mustherd-shepherd-0", "shepherd", "--listen", "127.0.0.1", "--ports", numbers, "--logs", "logs",
            secrets={"/etc/mustherd/shepherd": own, "/etc/mustherd/accepted": accepted},
            state=tmp_path / "state-shepherd",
        ),
        pod(
            image, "mustherd-muster-0", "muster",
            secrets={
                "/etc/mustherd/shepherd": shared, "/etc/mustherd/node": node,
                "/etc/mustherd/own/key_secret": made / f"{MUSTER}.key_secret",
            },
            state=tmp_path / "state-muster",
            more=(f"--setenv=MUSTHERD_NODE={NODE}", "--setenv=MUSTHERD_SHEPHERD=127.0.0.1"),
        ),
    ]  # fmt: skip
    try:
        where = f"127.0.0.1:{ports.coordinate}"
        deadline = time.monotonic() + 120
        found: dict[str, str] = {}
        while found != {MUSTER: "alive"}:
            assert time.monotonic() < deadline, found
            assert [process.poll() for process in started] == [None, None]
            time.sleep(0.5)
            with contextlib.suppress(WireError):
                found = {view.name: view.presence for view in operate.status(where, keys=made).musters}
    finally:
        for process in started:
            process.terminate()
        codes = [process.wait(60) for process in started]
    assert codes == [0, 0]
    assert any((tmp_path / "state-shepherd" / "logs").iterdir())
