"""`--set`: a definition with values said otherwise."""

from pathlib import Path

import pytest

from mustherd.definition import DefinitionError, load, loads
from mustherd.definition.changed import changed

TEXT = """name: mine  # a comment
herd: {simulated: {profile: c6220, speed: 1000}}
workload: {preset: etc, qps: 200k}
knobs: {itr-delay: [20, 300]}
constraints: [read_p99_us <= 300]
trials: 12
policy: tune
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "mine.yml"
    made.write_text(TEXT)
    return made


@pytest.mark.parametrize(
    ("change", "instead"),
    [
        ("trials=5", TEXT.replace("trials: 12", "trials: 5")),
        ("name=other", TEXT.replace("name: mine", "name: other")),
        ("search.seed=3", TEXT + "search: {seed: 3}\n"),
        ("workload.qps=600k", TEXT.replace("200k", "600k")),
        ("knobs.itr-delay=[50, 100]", TEXT.replace("[20, 300]", "[50, 100]")),
        ("constraints=['read_p99_us <= 500']", TEXT.replace("<= 300", "<= 500")),
        ("herd.simulated.musters=3", TEXT.replace("c6220,", "c6220, musters: 3,")),
        ("policy.name=nop", TEXT.replace("tune", "nop")),
    ],
)
def test_it_is_what_the_file_with_that_value_would_say(file: Path, change: str, instead: str) -> None:
    found = changed(file, [change])
    assert found == loads(instead)
    assert loads(found.to_yaml()) == found
    assert load(file) == loads(TEXT), "the file was changed"


def test_the_last_change_counts() -> None:
    assert changed(None, ["trials=5", "trials=7"]).trials == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("trials", "KEY=VALUE"),
        ("=5", "KEY=VALUE"),
        ("trails=5", "did you mean 'trials'?"),
        ("trials=x", "trials"),
        ("trials=", "trials"),
        ("search.seed.x=1", "search.seed"),
        ("knobs.dfvs=[1.2 GHz]", "dvfs"),
        ("trials=[1", "--set trials"),
        (f"{'.'.join(['a'] * 5000)}=1", "nested too deeply; allowed: 24 levels"),
    ],
)
def test_a_mistake_is_said_in_a_line(file: Path, change: str, says: str) -> None:
    with pytest.raises(DefinitionError) as error:
        changed(file, [change])
    assert says in str(error.value)


def test_what_is_wrong_with_the_file_is_said_with_its_line(file: Path) -> None:
    file.write_text(TEXT.replace("trials: 12", "trials: many"))
    with pytest.raises(DefinitionError, match=r"mine\.yml:6"):
        changed(file, ["name=other"])


def test_a_file_that_is_not_there_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="can't be read"):
        changed(tmp_path / "none.yml", ["trials=5"])
