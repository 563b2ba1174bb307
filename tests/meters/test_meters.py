"""Meters of whole machines: each kind against a device of its own, and what they are not told, sent or led to."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from mustherd.meters import registry
from mustherd.meters.base import Traits, UnreadableError, WallMeter
from mustherd.meters.dcmi import watts
from mustherd.plugins import METERS, OptionError, PluginError
from mustherd.testing.wall_meter import WallMeterContract
from tests.meters.devices import DCMI, PASSWORD, USER, Device, certificate, credentials, ipmitool
from tests.plugged import found


def made(**given: Any) -> Any:
    return registry.make(given, "muster-2")[0]


@pytest.fixture
def device() -> Iterator[Device]:
    found = Device().serve()
    yield found
    found.close()


class TestRedfish(WallMeterContract):
    @pytest.fixture(params=[False, True], ids=["Power", "EnvironmentMetrics"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[Device]:
        found = Device().serve()
        found.chassis(new=request.param)
        yield found
        found.close()

    @pytest.fixture
    def meter(self, device: Device) -> WallMeter:
        return made(kind="redfish", url=device.url)  # type: ignore[no-any-return]

    @pytest.fixture
    def show(self, device: Device) -> Callable[[float], None]:
        return device.show

    @pytest.fixture
    def break_meter(self, device: Device) -> Callable[[], None]:
        return lambda: device.show("null")  # type: ignore[arg-type]


class TestUrl(WallMeterContract):
    @pytest.fixture
    def meter(self, device: Device) -> WallMeter:
        return made(kind="url", url=f"{device.url}/status", at=["outlets", 1, "kwh"], unit="kWh")  # type: ignore[no-any-return]

    @pytest.fixture
    def show(self, device: Device) -> Callable[[float], None]:
        return lambda joules: device.pages.update({"/status": {"outlets": [{}, {"kwh": joules / 3.6e6}]}})

    @pytest.fixture
    def break_meter(self, device: Device) -> Callable[[], None]:
        return lambda: device.pages.update({"/status": {"outlets": []}})


@pytest.mark.process
class TestCommand(WallMeterContract):
    @pytest.fixture
    def meter(self, tmp_path: Path) -> WallMeter:
        read = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"
        return made(kind="command", command=[sys.executable, "-c", read, f"{tmp_path}/{{muster}}"])  # type: ignore[no-any-return]

    @pytest.fixture
    def show(self, tmp_path: Path) -> Callable[[float], None]:
        def show(watts: float) -> None:
            (tmp_path / "muster-2").write_text(f"{watts / 1000} kW\n")

        return show

    @pytest.fixture
    def break_meter(self, tmp_path: Path) -> Callable[[], None]:
        return (tmp_path / "muster-2").unlink


class TestDcmi(WallMeterContract):
    @pytest.fixture
    def meter(self, tmp_path: Path) -> WallMeter:
        return made(kind="dcmi", program=[str(ipmitool(tmp_path))])  # type: ignore[no-any-return]

    @pytest.fixture
    def show(self, tmp_path: Path) -> Callable[[float], None]:
        def show(watts: float) -> None:
            (tmp_path / "says").write_text(DCMI % (int(watts), "activated"))

        return show

    @pytest.fixture
    def break_meter(self, tmp_path: Path) -> Callable[[], None]:
        return (tmp_path / "says").unlink


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DCMI % (234, "deactivated"), "power reading is deactivated: ipmitool dcmi power activate"),
        (DCMI % (0, "activated"), "says 0 W"),
        (DCMI % ("-", "activated"), "no line of an instantaneous power reading"),
        ("DCMI request failed because: Invalid command (c1)", "no line of an instantaneous power reading"),
    ],
)
def test_a_bmc_that_does_not_measure_is_an_error(text: str, said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        watts(text)


def test_a_bmc_s_password_is_in_a_file_and_on_no_command_line(tmp_path: Path) -> None:
    (tmp_path / "says").write_text(DCMI % (234, "activated"))
    meter = made(
        kind="dcmi", host="bmc-{muster}", credentials=str(credentials(tmp_path)), program=[str(ipmitool(tmp_path))]
    )
    assert meter.read() == 234
    argv, password = json.loads((tmp_path / "called").read_text())
    assert argv == ["-I", "lanplus", "-H", "bmc-muster-2", "-U", USER, "-E", "dcmi", "power", "reading"]
    assert password == PASSWORD


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640])
def test_a_password_that_others_can_read_is_not_used(device: Device, tmp_path: Path, mode: int) -> None:
    device.chassis()
    meter = made(kind="redfish", url=device.url, credentials=str(credentials(tmp_path, mode)))
    with pytest.raises(
        UnreadableError, match=r"bmc.toml.*(readable by others|only .* may be able to change it)"
    ) as error:
        meter.read()
    assert PASSWORD not in str(error.value)
    assert device.asked == []


def test_what_a_file_of_credentials_holds_is_said_and_never_shown(tmp_path: Path) -> None:
    path = credentials(tmp_path)
    path.write_text(f'user = "x"\npasswort = "{PASSWORD}"\n')
    with pytest.raises(UnreadableError, match="it holds two lines") as error:
        made(kind="redfish", url="https://127.0.0.1:1", credentials=str(path)).read()
    assert PASSWORD not in str(error.value)


class TestCertificates:
    @pytest.fixture
    def signed(self, tmp_path: Path) -> tuple[Path, str]:
        return certificate(tmp_path)

    @pytest.fixture
    def device(self, signed: tuple[Path, str]) -> Iterator[Device]:
        found = Device()
        found.serve(signed[0])
        found.needs_password = True
        found.chassis()
        yield found
        found.close()

    def test_one_that_nobody_known_has_signed_is_told_nothing(self, device: Device, tmp_path: Path) -> None:
        meter = made(kind="redfish", url=device.url, credentials=str(credentials(tmp_path)))
        with pytest.raises(UnreadableError, match=r"isn't trusted .*`ca`.*`certificate_sha256`"):
            meter.read()
        assert device.asked == []

    @pytest.mark.parametrize("by", ["ca", "certificate_sha256"])
    def test_one_that_is_named_is_trusted(
        self, device: Device, signed: tuple[Path, str], tmp_path: Path, by: str
    ) -> None:
        given = {"ca": str(signed[0]), "certificate_sha256": signed[1]}[by]
        meter = made(kind="redfish", url=device.url, credentials=str(credentials(tmp_path)), **{by: given})
        assert meter.read() == 250

    def test_another_one_than_was_named_is_told_nothing(
        self, device: Device, signed: tuple[Path, str], tmp_path: Path
    ) -> None:
        given = {"credentials": str(credentials(tmp_path)), "certificate_sha256": "0" * 64}
        with pytest.raises(UnreadableError, match=f"another certificate than certificate_sha256: {signed[1]}"):
            made(kind="redfish", url=device.url, **given).read()
        assert device.asked == []

    def test_a_wrong_password_is_said(self, device: Device, signed: tuple[Path, str]) -> None:
        with pytest.raises(UnreadableError, match="answers 401"):
            made(kind="redfish", url=device.url, ca=str(signed[0])).read()


def test_nobody_is_led_to_another_machine(device: Device) -> None:
    other = Device().serve()
    other.chassis()
    device.redirects_to = f"{other.url}/redfish/v1/Chassis"
    with pytest.raises(UnreadableError, match="answers 302"):
        made(kind="redfish", url=device.url).read()
    device.redirects_to = ""
    device.pages["/redfish/v1/Chassis"] = {"Members": [{"@odata.id": f"{other.url}/redfish/v1/Chassis/1"}]}
    with pytest.raises(UnreadableError, match="no chassis tells"):
        made(kind="redfish", url=device.url).read()
    assert other.asked == []
    other.close()


def test_of_several_chassis_one_is_named(device: Device) -> None:
    for name, shown in (("node-1", 210), ("node-2", 190)):
        device.chassis(name, watts=shown)
    with pytest.raises(
        UnreadableError, match="several chassis tell their power; name one by `chassis`: node-1, node-2"
    ):
        made(kind="redfish", url=device.url).read()
    assert made(kind="redfish", url=device.url, chassis="node-2").read() == 190
    assert made(kind="redfish", url=f"{device.url}/redfish/v1/Chassis/node-1/Power", member=1).read() == 90
    with pytest.raises(UnreadableError, match="name one by `chassis`: node-1, node-2"):
        made(kind="redfish", url=device.url, chassis="node-3").read()


@pytest.mark.parametrize(
    "page", [[], {}, {"PowerControl": []}, {"PowerControl": [7]}, {"PowerControl": [{"PowerConsumedWatts": True}]}, "{"]
)
def test_a_page_of_anything_is_an_error(device: Device, page: Any) -> None:
    device.pages["/x/Power"] = page
    with pytest.raises(UnreadableError):
        made(kind="redfish", url=f"{device.url}/x/Power").read()


@pytest.mark.parametrize("at", ["outlets.1.kwh", ["outlets", 1, "kwh"]])
def test_a_number_in_json_is_named_as_in_a_load_s_results(device: Device, at: Any) -> None:
    device.pages["/status"] = {"outlets": [{}, {"kwh": 5}]}
    assert made(kind="url", url=f"{device.url}/status", at=at, unit="J").read() == 5
    with pytest.raises(UnreadableError, match="there is no 'none' of"):
        made(kind="url", url=f"{device.url}/status", at="outlets.1.none").read()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "which kind of meter"),
        ({"kind": "redfish"}, "url"),
        ({"kind": "redfish", "url": "bmc"}, "is no address"),
        ({"kind": "redfish", "url": "http://bmc.example", "credentials": "/x"}, "isn't sent over plain http"),
        ({"kind": "redfish", "url": "https://me:pw@bmc.example"}, "no place in an address"),
        ({"kind": "url", "url": "https://x.example", "certificate_sha256": "12"}, "64 hexadecimal digits"),
        ({"kind": "url", "url": "https://x.example", "unit": "A"}, "unit 'A' is none of W, kW"),
        ({"kind": "command", "command": []}, "command"),
        ({"kind": "dcmi", "host": "bmc"}, "belong together"),
        ({"kind": "dcmi", "host": "-x", "credentials": "/x"}, "host"),
        ({"kind": "dcmi", "period_seconds": 0}, "period_seconds"),
    ],
)
def test_what_can_t_be_is_refused_before_anything_is_asked(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        registry.options(given)


def test_each_meter_of_each_node_is_tried_before_anything_runs(device: Device) -> None:
    from mustherd.experiment.links import _meters
    from tests.definition.make import made as definition

    device.chassis()
    meters = {
        "bmc": {"kind": "redfish", "url": device.url},
        "pdu": {"kind": "url", "url": f"{device.url}/{{muster}}"},
    }
    experiment = definition(herd={"inventory": "x"}, meters=meters, workload={"qps": 1000, "window_seconds": 30})
    tried = {link.name: (link.state, link.found) for link in _meters(experiment, "muster-1", alone=False)}
    assert tried["meter bmc of muster-1"] == (
        "wrong", "meter bmc measures one machine, and the herd has several: put {muster} into its address or command"
    )  # fmt: skip
    assert tried["meter pdu of muster-1"] == ("wrong", f"{device.url}/muster-1: answers 404 Not Found")
    [bmc, _] = _meters(experiment, "muster-1", alone=True)
    assert (bmc.state, bmc.found) == ("ok", "250.0 W")


@pytest.mark.parametrize(("amount", "said"), [(math.nan, "nan"), (math.inf, "inf"), (-3.0, "-3")])
def test_what_a_packages_meter_reads_is_an_amount(monkeypatch: pytest.MonkeyPatch, amount: float, said: str) -> None:
    """One that read NaN began an experiment, whose trials then said that the node or the load gave no energy."""
    found(monkeypatch, EntryPoint("odd", "tests.meters.test_meters:OddMeter", METERS))
    monkeypatch.setattr(OddMeter, "amount", amount)
    with pytest.raises(UnreadableError, match=f"^meter 'odd' of tests reads {said}, which is no amount$"):
        made(kind="odd").read()


def test_a_packages_meter_that_gives_text_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("odd", "tests.meters.test_meters:OddMeter", METERS))
    monkeypatch.setattr(OddMeter, "amount", "12")
    with pytest.raises(UnreadableError, match=r"meter 'odd' of tests.*it gives '12', which is no number"):
        made(kind="odd").read()


def test_a_packages_meter_says_watts_or_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volts were taken for watts."""
    found(monkeypatch, EntryPoint("odd", "tests.meters.test_meters:OddMeter", METERS))
    monkeypatch.setattr(OddMeter, "quantity", "volts")
    with pytest.raises(PluginError, match=r"^meter 'odd' of tests: its quantity is 'volts'; allowed: watts, joules$"):
        made(kind="odd")


def test_a_packages_meter_that_breaks_when_it_is_asked_for_its_quantity_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was called a fault of MustHerd itself, 70, by a traceback."""

    def broken(_: object) -> str:
        raise RuntimeError("one\ntwo")

    found(monkeypatch, EntryPoint("odd", "tests.meters.test_meters:OddMeter", METERS))
    monkeypatch.setattr(OddMeter, "quantity", property(broken))
    with pytest.raises(PluginError, match=r"^meter 'odd' of tests can't say its quantity: RuntimeError: one two"):
        made(kind="odd")


def test_a_packages_meter_that_can_t_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("one\ntwo")

    found(monkeypatch, EntryPoint("odd", "tests.meters.test_meters:OddMeter", METERS))
    monkeypatch.setattr(OddMeter, "__init__", broken)
    with pytest.raises(PluginError, match=r"^meter 'odd' of tests can't be made: RuntimeError: one two \(test_meters"):
        made(kind="odd")


class OddMeter:
    Options = Traits
    quantity = "watts"
    amount = 1.0

    def __init__(self, options: Traits) -> None:
        pass

    def read(self) -> float:
        return self.amount
