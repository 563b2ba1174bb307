"""The four ports: said once, written and read in one way."""

from pathlib import Path

import pytest
import yaml

from mustherd.wire.ports import MAX_PORT, Ports

DEFAULTS = Path(__file__).parents[2] / "roles/mustherd/defaults/main.yml"


def test_the_role_s_ports_are_the_program_s() -> None:
    assert Ports(**yaml.safe_load(DEFAULTS.read_text())["mustherd_ports"]) == Ports()


def test_ports_read_back_as_they_are_written() -> None:
    for ports in (Ports(), Ports(0, 0, 0, 0), Ports(1, 2, 3, MAX_PORT)):
        assert Ports.parse(str(ports)) == ports
    assert Ports.parse(" 1, 2,3 ,4") == Ports(1, 2, 3, 4)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1,2,3,-4", "1,2,3,65536", "1;2;3;4", "1,2,,4"])
def test_what_is_not_four_ports_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"give four ports, 0..65535, separated by commas"):
        Ports.parse(text)
