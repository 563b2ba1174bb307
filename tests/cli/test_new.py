"""`experiment new` writes a definition that is one, asks until it can, and takes no file's place."""

import io
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.cli.app import main
from mustherd.definition import loads
from mustherd.definition.draft import LOCAL, SIMULATED, USUAL, VALUES, Answers, name_of, text
from mustherd.definition.limits import limit_text
from mustherd.node.catalog import knob_names

MUSTHERD = str(Path(sys.executable).with_name("mustherd"))


def run(*words: str, verb: str = "new") -> int:
    """The exit code of a command, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mustherd", "experiment", verb, *words])
        patch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("herd", [*USUAL, "nodes"])
def test_what_is_usual_is_a_definition(here: Path, herd: str) -> None:
    (here / "nodes").mkdir()
    assert run("asked.yml", "--herd", herd, "--yes") == 0
    written = (here / "asked.yml").read_text()
    experiment = loads(written)
    assert experiment.name == "asked"
    assert (experiment.herd.inventory == "nodes") == (herd == "nodes")
    assert written.count("#") > 8
    # What is offered beside it can be taken as it stands.
    offered = [line[2:] for line in written.splitlines() if line.startswith(("# search:", "# base", "# gat", "# bud"))]
    assert len(offered) == 4
    loads(written + "\n".join(offered))


@pytest.mark.parametrize("herd", USUAL)
@pytest.mark.parametrize("more", [[], ["--set", "trials=5", "--name", "other"]])
def test_one_command_does_what_is_usual(herd: str, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{herd}.yml", "--herd", herd, "--yes") == 0
    capsys.readouterr()
    plans = []
    for words in ([f"{herd}.yml"], ["--herd", herd]):
        assert run(*words, *more, "--json", verb="plan") == 0
        plans.append(json.loads(capsys.readouterr().out))
    assert plans[0] == plans[1]
    assert plans[0]["experiment"] == ("other" if more else herd)


@pytest.mark.parametrize(
    ("words", "says"),
    [(["a.yml", "--herd", "local"], "leave one of them out"), (["--herd", "locl"], "there is no inventory 'locl'")],
)
def test_a_herd_that_is_none_or_one_too_many_is_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("plan", "start"):
        assert run(*words, verb=verb) == 2
        assert says in capsys.readouterr().err


TWIN = ("itr-delay", "dvfs")
"""What the usual simulated node has; real ones have more."""


@pytest.mark.parametrize("knob", VALUES)
def test_every_knob_has_values_to_begin_with_that_its_herd_takes(knob: str) -> None:
    assert knob in knob_names()
    herd = LOCAL if knob in ("memcached-threads", "cpu-quota") else SIMULATED if knob in TWIN else "nodes"
    assert len(loads(text(Answers(herd, knobs=(knob,)))).knobs[knob]) > 2


def test_options_say_it_all_without_a_question(here: Path) -> None:
    words = ["--herd", "simulated", "--objective", "power_watts", "--load", "[100k, 200k]"]
    words += ["--limit", "read_p99_us <= 300", "--limit", "read_p95_us <= 200"]
    assert run("sub.yml", *words, "--knob", "dvfs", "--knob", "itr-delay = [20, 50]") == 0
    found = loads((here / "sub.yml").read_text())
    assert (found.objective, found.workload.qps) == ("power_watts", (100e3, 200e3))
    assert len(found.constraints) == 2
    assert list(found.knobs["itr-delay"]) == [20, 50]


def test_a_file_that_is_there_stays_as_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yml").write_text("mine alone")
    assert run("--yes") == 2
    (here / "away.yml").symlink_to(here / "nowhere")
    assert run("away.yml", "--yes") == 2
    assert capsys.readouterr().err.count("is there already; nothing was written") == 2
    assert (here / "mine.yml").read_text() == "mine alone"
    assert not (here / "nowhere").exists()


def test_where_nobody_can_be_asked_it_says_what_is_missing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--load", "100k", "--herd", "simulated") == 2
    assert "nobody is here to be asked: say --objective, --limit, --knob, or --yes" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--load", "many"], "mine.yml:10: workload.qps"),
        (["--knob", "dfvs"], "did you mean 'dvfs'"),
        (["--herd", "simulatd"], "there is no inventory 'simulatd'"),
        (["--limit", "read_p99_us < 1\nname: x"], "constraints"),
        (["--objective", "joy"], "objective"),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(*words, "--yes") == 2
    assert message in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_name_is_made_of_any_file() -> None:
    names = ["mine.yml", "My First Try.yaml", "ä.yml", "-.yml", f"{'x' * 99}.yml"]
    assert [name_of(Path(name)) for name in names] == ["mine", "my-first-try", "mine", "mine", "x" * 64]
    for name in names:
        loads(text(Answers(name=name_of(Path(name)))))


@pytest.mark.process
def test_it_asks_in_a_terminal_until_it_has_an_answer(here: Path) -> None:
    ours, its = pty.openpty()
    asking = subprocess.Popen([MUSTHERD, "experiment", "new", "asked.yml"], stdin=its, stdout=its, stderr=its, cwd=here)
    os.close(its)
    seen = ""

    def answer(question: str, said: str) -> None:
        nonlocal seen
        while question not in seen:
            assert select.select([ours], [], [], 60)[0], seen
            seen += os.read(ours, 4096).decode()
        seen = seen.partition(question)[2]
        os.write(ours, f"{said}\n".encode())

    answer("[simulated]: ", "")
    answer("What is to be small [energy_joules]: ", "")
    answer("[read_p99_us <= 500]: ", "read_p99_us <= 300")
    answer("Requests per second [200k]: ", "a lot")
    answer("workload.qps: 'a lot'", "")  # its own mistake, and the usual the second time
    answer("[itr-delay, dvfs]: ", "dvfs, itr-delay=[20, 50]")
    assert asking.wait(60) == 0
    os.close(ours)
    found = loads((here / "asked.yml").read_text())
    assert found.workload.qps == 200e3
    assert [limit_text(c) for c in found.constraints] == ["read_p99_us <= 300"]
    assert list(found.knobs) == ["dvfs", "itr-delay"]
