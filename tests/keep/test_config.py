"""A keeper's file and its table: what they mean, and where what is wrong with them is."""

from pathlib import Path

import pytest

from mustherd.definition.errors import DefinitionError
from mustherd.keep import config, learnt

TABLE = """\
constraints: [read_p99_us <= 0.5 ms, achieved_ratio >= 0.98, watts_of_a_package_that_is_not_there <= 3]
table:
- {qps: 100k, settings: {itr-delay: 300, dvfs: 1.2 GHz},
   metrics: {power_watts: 50, window_seconds: 30, nic_rx_bytes: 420e6}}
- {qps: 0.8M, settings: {itr-delay: 200, dvfs: 1900}}
"""


def options(folder: Path, text: str, limit: float | None = 500.0) -> object:
    (folder / "keep.yml").write_text(text, encoding="utf-8")
    return config.options(config.read(folder / "keep.yml"), limit)


def test_settings_and_loads_are_written_as_in_a_definition(tmp_path: Path) -> None:
    (tmp_path / "keep.yml").write_text(
        "keeper: {safe: {dvfs: 2.8 GHz}, baseline: {}}\ntraffic: [[30, 400k], [1 s, 1e5]]\n", encoding="utf-8"
    )
    read = config.read(tmp_path / "keep.yml")
    assert read.traffic == ((30.0, 400e3), (1.0, 100e3))
    found = config.options(read, 500.0)
    assert found.safe == {"dvfs": 2800}
    assert found.baseline == {}
    assert found.limit == 500.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keeper: {limit: 500 us}", "keep.yml:1: keeper.limit: should be a number, found '500 us'"),
        ("keeper:\n  marginn: 0.1", "keep.yml:2: keeper.marginn: unknown option 'marginn'"),
        ("keeper:\n  marginn: 0.1", "did you mean 'margin'?"),
        ("keeper: {margin: 3}", "should be a number <= 1, found '3'"),
        ("keeper: {safe: {dvfs: 2800 MHzz}}", "keep.yml:1: keeper.safe.dvfs: 'MHzz' is no unit here"),
        ("keeper: {frame_s: 5, age_s: 1}", "keeper.age_s: 1 s is less than a frame of 5 s"),
        ("traffic: [[400k, 30]]", "keep.yml:1: traffic: 'k' is no unit here"),
        ("traffic: [[0, 30]]", "isn't above 0"),
        ("keper: {}", "unknown key 'keper'; allowed: keeper, sources, traffic; did you mean 'keeper'?"),
        ("- 1", "should be a mapping, found a list; allowed: keeper, sources, traffic"),
        ("sources: {kind: memcached}", "keep.yml:1: sources: should be a list of mappings"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DefinitionError) as error:
        options(tmp_path, text)
    assert said.removeprefix("keep.yml") in str(error.value)


def test_a_table_says_its_limit_and_what_its_settings_draw(tmp_path: Path) -> None:
    (tmp_path / "table.yml").write_text(TABLE, encoding="utf-8")
    found = learnt.read(tmp_path / "table.yml")
    assert found.book.loads == (100e3, 800e3)
    assert (found.limit, found.latency, found.power) == (500.0, "read_p99_us", "power_watts")
    assert found.book.foretell(found.book.keys[0], 100e3)[0] == 50
    assert found.counted == {"nic_rx_bytes": [(100e3, 14e6)]}


def test_a_table_without_limits_needs_one_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "table.yml").write_text(TABLE.partition("\n")[2], encoding="utf-8")
    limit = learnt.read(tmp_path / "table.yml").limit
    with pytest.raises(DefinitionError, match=r"keeper\.limit is missing"):
        config.options(config.read(None), limit)
