"""What is in deploy/: what Kubernetes is given is whole, agrees with the code, and with the units of the roles."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mustherd import __version__
from mustherd.muster import config
from mustherd.wire.ports import Ports

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNIT = ROOT / "roles/mustherd/templates/mustherd-muster.service.j2"
NEEDED = {"mustherd-musters", "mustherd-shepherd", "mustherd-shepherd-public", "mustherd-accepted"}
"""Secrets that docs/how-to/kubernetes.md has made."""


def written() -> list[dict[str, Any]]:
    """The objects of the base, as they are written."""
    files = yaml.safe_load((DEPLOY / "kubernetes/base/kustomization.yaml").read_text())["resources"]
    texts = [(DEPLOY / "kubernetes/base" / file).read_text() for file in files]
    return [one for text in texts for one in yaml.safe_load_all(text)]


def rendered(which: str) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl isn't installed")
    command = [kubectl, "kustomize", str(DEPLOY / "kubernetes" / which)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(text))


def of(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [one] = [one for one in objects if one["kind"] == kind]
    return one


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [of(objects, kind)["spec"] for kind in ("DaemonSet", "Deployment")]


@pytest.mark.parametrize("which", ["base", "registers"])
def test_what_is_rendered_has_its_image_and_its_room(which: str) -> None:
    objects = rendered(which)
    assert {one["kind"] for one in objects} == {one["kind"] for one in written()}
    assert all(one["metadata"].get("namespace") == "mustherd" for one in objects if one["kind"] != "Namespace")
    for pod in pods(objects):
        [container] = pod["template"]["spec"]["containers"]
        assert container["image"] == f"mustherd:{__version__}"
        held_together(pod)
    context = pods(objects)[0]["template"]["spec"]["containers"][0]["securityContext"]
    assert context.get("privileged", False) == (which == "registers")


def held_together(pod: dict[str, Any]) -> None:
    """What is mounted is there, and what is there is mounted; who is selected has that label."""
    spec = pod["template"]["spec"]
    [container] = spec["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(set(paths)) == len(paths)
    assert pod["selector"]["matchLabels"].items() <= pod["template"]["metadata"]["labels"].items()
    assert {v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v} <= NEEDED
    assert all(v["secret"]["defaultMode"] == 0o400 for v in spec["volumes"] if "secret" in v)


def test_the_parts_name_one_another() -> None:
    objects = written()
    for pod in pods(objects):
        held_together(pod)
    muster, shepherd = (pod["template"]["spec"]["containers"][0] for pod in pods(objects))
    [where] = [e["value"] for e in muster["env"] if e["name"] == "MUSTHERD_SHEPHERD"]
    service = of(objects, "Service")
    assert where == f"{service['metadata']['name']}.mustherd.svc"
    assert service["spec"]["selector"].items() <= pods(objects)[1]["template"]["metadata"]["labels"].items()
    ports = msgspec.structs.asdict(Ports())
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == ports
    assert {port["name"]: port["containerPort"] for port in shepherd["ports"]} == ports
    assert shepherd["command"][shepherd["command"].index("--ports") + 1] == ",".join(map(str, ports.values()))
    claims = {
        v["persistentVolumeClaim"]["claimName"]
        for v in pods(objects)[1]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    }
    assert claims == {of(objects, "PersistentVolumeClaim")["metadata"]["name"]}


def test_a_muster_may_what_its_unit_may() -> None:
    unit = UNIT.read_text()
    said = [set(line.split()) for line in re.findall(r"^CapabilityBoundingSet=(.+)$", unit, re.M)]
    context = pods(written())[0]["template"]["spec"]["containers"][0]["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert said == [{f"CAP_{name}" for name in context["capabilities"]["add"]}]
    assert not context["allowPrivilegeEscalation"]
    spec = pods(written())[0]["template"]["spec"]
    assert f"TimeoutStopSec={spec['terminationGracePeriodSeconds']}" in unit
    hosts = {v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
    assert hosts == {"/sys", "/var/lib/mustherd", "/run/mustherd"}


def test_the_ranges_are_a_muster_s_configuration(tmp_path: Path) -> None:
    ranges = of(written(), "ConfigMap")["data"]["muster.toml"]
    [head] = re.findall(r"printf '(.*?)' \\", (DEPLOY / "image/pod.sh").read_text())
    values = itertools.chain(["muster-node-1", "127.0.0.1", "/keys"])
    (tmp_path / "muster.toml").write_text(re.sub("%s", lambda _: next(values), head).replace("\\n", "\n") + ranges)
    told = config.load(tmp_path / "muster.toml")
    assert (told.muster, told.shepherd, set(told.nodes)) == ("muster-node-1", "127.0.0.1", {"linux"})
    assert set(told.ranges) == {"itr-delay", "dvfs"}


def test_the_image_has_what_its_definition_copies() -> None:
    text = (DEPLOY / "image/Containerfile").read_text()
    copied = re.search(r"^COPY (.+) \S+$", text, re.M)
    assert copied is not None
    for name in copied[1].split():
        assert name in ("*.whl", "requirements.lock") or (DEPLOY / "image" / name).exists(), name
    for script in (DEPLOY / "image").glob("*.sh"):
        subprocess.run(["sh", "-n", str(script)], check=True)
