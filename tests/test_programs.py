"""What a program prints, and what an error says of one that didn't."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mustherd import programs
from mustherd.programs import ProgramError, last_words, printed
from tests.waiting import until


@pytest.mark.process
def test_what_is_printed_is_given_without_the_space_around_it(tmp_path: Path) -> None:
    script = 'echo " $GREETING $PWD"; echo aside >&2'
    assert printed(["sh", "-c", script], 10, environment={"GREETING": "hello"}, folder=tmp_path) == f"hello {tmp_path}"
    assert printed(["sh", "-c", script], 10, prefix=["env", "GREETING=hi"], errors_too=True).endswith("aside")


@pytest.mark.process
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no-such-tool"], "no-such-tool: No such file or directory"),
        (["sh", "-c", "exit 3"], "sh ended with 3: it said nothing"),
        (["sh", "-c", "echo out; echo err >&2; exit 3"], "sh ended with 3: err"),
    ],
)
def test_an_error_says_which_program_and_how(argv: Sequence[str], said: str) -> None:
    with pytest.raises(ProgramError, match=f"^{re.escape(said)}$"):
        printed(argv, 10)


@pytest.mark.process
@pytest.mark.long
def test_one_that_takes_too_long_is_told_with_what_it_said() -> None:
    with pytest.raises(ProgramError, match=r"^sh takes longer than 2 s: ready$"):
        printed(["sh", "-c", "echo ready; exec sleep 60"], 2)


def test_last_words_are_the_last_lines_in_one_that_a_terminal_can_show() -> None:
    assert last_words("one\ntwo\nthree\n\x1b[31mfour\x1b[0m\n") == "two / three / four"
    assert last_words("to\x07the bell") == r"to\x07the bell"
    assert last_words("x" * 1000 + "end") == "x" * 297 + "end"
    assert last_words(" \n") == "it said nothing"


@pytest.mark.process
def test_one_that_takes_too_long_ends_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(ProgramError, match=r"^sh takes longer than 0\.2 s: started$"):
        printed(["sh", "-c", f"sleep 60 & echo $! > {note}; echo started; wait"], 0.2)
    child = Path("/proc", note.read_text().strip(), "stat")
    until(lambda: not child.exists() or ") Z" in child.read_text())


@pytest.mark.process
def test_one_that_has_ended_while_its_output_is_held_is_told_from_one_that_runs(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(
        ProgramError, match=r"^sh has ended, and what it started holds its output longer than 1 s: begun$"
    ):
        printed(["sh", "-c", f"sleep 60 & echo $! > {note}; echo begun"], 1)
    child = Path("/proc", note.read_text().strip(), "stat")
    until(lambda: not child.exists() or ") Z" in child.read_text())


@pytest.mark.process
@pytest.mark.parametrize("argv", [["yes"], ["sh", "-c", "yes >&2"]])
def test_one_that_prints_without_an_end_is_stopped_before_it_takes_the_memory(
    argv: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "MOST_PRINTED", 1 << 20)
    with pytest.raises(ProgramError, match=rf"^{argv[0]} prints too much; allowed: 1 MiB$"):
        printed(argv, 60)


@pytest.mark.process
def test_one_that_prints_nothing_more_but_goes_on_takes_too_long() -> None:
    with pytest.raises(ProgramError, match=r"^sh takes longer than 0\.5 s: done$"):
        printed(["sh", "-c", "echo done; exec sleep 60 >&- 2>&-"], 0.5)


@pytest.mark.process
@pytest.mark.parametrize(
    "script", ["sleep 0.5", "exec >&- 2>&-; sleep 0.5", "for k in 1 2 3 4 5; do echo $k; sleep 0.1; done"]
)
def test_who_waits_for_one_does_something_meanwhile_and_an_error_of_that_is_not_the_programs(script: str) -> None:
    called: list[str] = []

    def call() -> None:
        called.append(printed(["sh", "-c", "sleep 0.3; echo within"], 10))
        raise ValueError("no fault of the program")

    with programs.meanwhile(call):
        printed(["sh", "-c", script], 10)
        assert called
        assert set(called) == {"within"}, "and not within itself"
    called.clear()
    printed(["sh", "-c", script], 10)
    assert not called


@pytest.mark.process
def test_another_thread_that_waits_has_nothing_else_to_do() -> None:
    called: list[int] = []
    with programs.meanwhile(lambda: called.append(1)), ThreadPoolExecutor() as pool:
        pool.submit(printed, ["sleep", "0.3"], 10).result()
    assert not called
