"""What an experiment was measured with is kept at its start, and what differs later is named."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mustherd.definition import load, loads
from mustherd.experiment import provenance
from mustherd.experiment.again import DAYS, record_of
from mustherd.experiment.origin import git_state, keep_origin, of_definition
from mustherd.experiment.results import announced
from mustherd.provision.made import of_roles
from mustherd.report.compare import compare
from mustherd.report.html import render
from mustherd.report.json import show_form
from mustherd.report.view import View
from mustherd.store.store import Store
from mustherd.terms import Facts
from tests.definition.make import made
from tests.report.conftest import Make, make

__all__ = ["make"]

NODE = {"kernel": "5.15.89", "nic_driver": "ixgbe", "nic_firmware": "0x61b10001", "governor": "userspace"}


def facts(**changed: str) -> Facts:
    told = {**NODE, **changed}
    return Facts(kind="linux", kernel=told.pop("kernel"), nic_driver=told.pop("nic_driver"), text=told)


def test_a_node_is_what_it_is_built_of_and_not_what_it_happens_to_be_at() -> None:
    found = provenance.of_node(facts(idle_watts="33.1"))
    assert found == {"kind": "linux", "kernel": "5.15.89", "nic_driver": "ixgbe", "nic_firmware": "0x61b10001"}


def test_a_resume_names_what_differs_and_keeps_both(make: Make) -> None:
    store = make("one")
    assert provenance.keep(store, {"muster-1": provenance.of_node(facts())}) == []
    assert provenance.keep(store, {"muster-1": provenance.of_node(facts())}) == []
    assert provenance.changes(store.events()) == []
    [one] = provenance.keep(store, {"muster-1": provenance.of_node(facts(kernel="6.15.1"))})
    assert one.text() == "muster-1: kernel is 6.15.1, was 5.15.89"
    view = View.of(store)
    assert view.provenance["muster-1"]["kernel"] == "6.15.1"
    assert view.provenance_changes == ("not as before: muster-1: kernel is 6.15.1, was 5.15.89",)
    kept = [event.data["found"]["kernel"] for event in store.events() if event.kind.startswith("provenance")]
    assert kept == ["5.15.89", "6.15.1"]
    form = show_form(view)
    assert form["provenance"]["muster-1"]["nic_firmware"] == "0x61b10001"
    assert form["provenance_changes"] == list(view.provenance_changes)
    page = render(view)
    assert "0x61b10001" in page
    assert "kernel is 6.15.1, was 5.15.89" in page


def test_many_differences_are_counted() -> None:
    before, now = ({"p": {f"n{k}": f"{word}{k}" for k in range(20)}} for word in ("a", "b"))
    text = provenance.said(provenance.differences(before, now))
    assert text.count("was") == provenance.MOST_NAMED
    assert text.endswith("and 12 more")


def test_what_came_and_what_went_is_named() -> None:
    one, two = provenance.differences({"p": {"gone": "1"}, "q": {"x": "1"}}, {"p": {"new": "2"}, "r": {"y": "1"}})
    assert one.text() == "p: gone is gone, was 1"
    assert two.text() == "p: new is 2, was not there"


def test_compare_names_what_differs_between_folders(make: Make) -> None:
    one, two = make("one"), make("two")
    for store, kernel, qps in ((one, "5.15.89", "x"), (two, "6.15.1", "y")):
        definition = {"file": f"/{qps}", "sha256": qps, "commit": "c0ffee"}
        found = {"muster-1": provenance.of_node(facts(kernel=kernel)), provenance.DEFINITION: definition}
        provenance.keep(store, found)
    assert compare([View.of(one), View.of(two)])["provenance"] == {"muster-1: kernel": ["5.15.89", "6.15.1"]}


def test_another_day_says_what_it_was_measured_with_that_the_first_was_not(make: Make, tmp_path: Path) -> None:
    first = make("one")
    node = provenance.of_node(facts())
    provenance.keep(first, {"muster-1": node, provenance.DEFINITION: {"sha256": "1"}})
    day = make("day")
    updated = provenance.of_node(facts(nic_firmware="0x800003e7"))
    provenance.keep(day, {"muster-1": updated, provenance.DEFINITION: {"sha256": "2"}})
    day.close()
    shutil.copytree(day.folder, first.folder / DAYS / "day")
    row = first.experiment()
    [found] = record_of(first.folder, announced(row.verdict), row.goal).days
    assert found.differs == ("muster-1: nic_firmware is 0x800003e7, was 0x61b10001",)


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    for name in ("a.yml", "b.yml"):
        (folder / name).write_text(made().to_yaml())
        git(folder, "add", name)
    git(folder, "commit", "-qm", "one")
    return folder


def test_the_definition_s_commit_and_whether_it_is_what_was_committed(repository: Path) -> None:
    file = repository / "a.yml"
    found = of_definition(load(file), file.read_text())
    assert (found["file"], found["file_state"], found["commit_state"]) == (str(file), "committed", "clean")
    assert len(found["commit"]) == 40
    (repository / "b.yml").write_text("name: other\n")
    assert (git_state(file)["commit_state"], git_state(file)["file_state"]) == ("1 files changed", "committed")
    file.write_text(file.read_text() + "# more\n")
    assert git_state(file)["file_state"] == "changed"
    (repository / "c.yml").write_text("x\n")
    assert git_state(repository / "c.yml")["file_state"] == "not in git"
    assert git_state(repository)["file_state"] == "changed"


def test_what_lies_in_no_repository_has_a_digest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yml"
    file.write_text(made().to_yaml())
    assert of_definition(load(file), file.read_text()).keys() == {"sha256", "file"}
    assert of_definition(loads(file.read_text(), "the definition"), file.read_text()).keys() == {"sha256"}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(file) == {}


def test_a_repository_runs_no_program_of_its_own(repository: Path, tmp_path: Path) -> None:
    """One that was downloaded may name a program for git to ask about changes."""
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(hook))
    assert git_state(repository / "a.yml")["file_state"] == "committed"
    assert not (tmp_path / "ran").exists()


def test_variables_are_those_of_the_roles_without_secrets() -> None:
    hosts = {
        "node1": {
            "herd_profile": "c6220", "ansible_user": "alice", "mustherd_secret": "x", "other": 1,
            "memcached_mutilate_cores": "0-6", "common_users": [{"name": "a", "password": "y"}],
            "herd_address": "{{ untouched }}",
        }
    }  # fmt: skip
    assert of_roles(hosts) == {
        "node1 common_users": '[{"name": "a"}]',
        "node1 herd_address": '"{{ untouched }}"',
        "node1 herd_profile": '"c6220"',
        "node1 memcached_mutilate_cores": '"0-6"',
    }


def test_a_damaged_line_of_the_journal_keeps_nobody_from_going_on(make: Make) -> None:
    store = make("one")
    store._db.execute("INSERT INTO event (at, kind, text, data) VALUES (1, 'provenance', 'x', '[1]')")
    keep_origin(store, made(), None, "text")
    with Store.open(store.folder, read_only=True) as again:
        assert View.of(again).provenance.keys() == {"program", "definition"}
