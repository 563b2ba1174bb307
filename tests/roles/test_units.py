"""Every unit is closed but for what its program needs: at most 3.0 by systemd's own measure."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jinja2 import ChainableUndefined, Environment

ROLES = Path(__file__).parents[2] / "roles"
UNITS = sorted(ROLES.glob("*/templates/*.service.j2"))
MOST = 3.0

GIVEN: dict[str, Any] = {
    "item": {
        **{"name": "x", "config": "/etc/x.toml", "state_directory": "x", "port": 1},
        **{"threads": 1, "cores": "", "node": None},
    },
    "mustherd_prefix": "/opt/mustherd",
    "mustherd_state": "/var/lib/mustherd",
    "memcached_mutilate_binary": "/usr/local/bin/memcached",
    "mustherd_cores": [],
    "kernel_ixgbe_card": [],
    "kernel_ixgbe_card_settings": ["x=1"],
    "mustherd_twin": False,
    "mustherd_ports": {"pulse": 1, "log": 2, "control": 3, "coordinate": 4},
    "mustherd_user": "mustherd",
    "memcached_mutilate_user": "memcache",
}


class Word(ChainableUndefined):
    """Whatever else a template asks for."""

    def __str__(self) -> str:
        return "x"


def rendered(unit: Path, **more: Any) -> str:
    environment = Environment(undefined=Word, trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    environment.filters |= {"bool": bool, "mustherd_cores": lambda value: value or []}
    return environment.from_string(unit.read_text()).render(**GIVEN, **more)


def test_there_are_units() -> None:
    assert len(UNITS) >= 7


ALWAYS = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "ProtectKernelModules=yes",
    "ProtectControlGroups=yes",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "UMask=0077",
)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_says_what_its_program_may(unit: Path) -> None:
    lines = rendered(unit).splitlines()
    for line in ALWAYS:
        assert any(found.startswith(line) for found in lines), line
    [capabilities] = [line for line in lines if line.startswith("CapabilityBoundingSet=")]
    assert "SYS_ADMIN" not in capabilities


def test_a_muster_s_unit_puts_its_node_back_watches_over_it_and_shares_who_owns_a_knob() -> None:
    [unit] = [unit for unit in UNITS if unit.name == "mustherd-muster.service.j2"]
    lines = rendered(unit).splitlines()
    assert "WatchdogSec=30" in lines
    assert any(line.startswith("ExecStopPost=") and " --restore " in line for line in lines)
    # One folder for all musters of the machine, which stays when one of them stops.
    assert {"RuntimeDirectory=mustherd", "RuntimeDirectoryPreserve=yes", "RuntimeDirectoryMode=0700"} <= set(lines)


@pytest.mark.long
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_little_that_is_open(unit: Path, tmp_path: Path) -> None:
    file = tmp_path / unit.stem
    file.write_text(rendered(unit))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST * 10:.0f}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) <= MOST
