"""What is installed by name, and how one that is broken is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import running
from tests.plugged import site

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]

WHOLE = """
class Ice:
    compares = False
    def __init__(self, experiment, problem): pass
    def observe(self, observations): pass
    def propose(self, pending): return {}
    def why_enough(self): return ""
    def close(self): pass

class Half:
    def propose(self, pending): return {}

def walk(problem, *, seed, options):
    raise NotImplementedError
"""


def listed(*folders: Path, json_: bool = True) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mustherd", "plugins", "list", *(["--json"] if json_ else [])],
        env={**os.environ, "PYTHONPATH": ":".join(map(str, [*folders, ROOT]))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_all_of_ours_can_be_used() -> None:
    code, out, err = running.run("plugins", "list", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["plugins"]
    names = {(row["group"], row["name"]) for row in rows}
    assert {("mustherd.policies", "tune"), ("mustherd.searches", "gp"), ("mustherd.peers", "penalty")} <= names
    for row in rows:
        assert row.keys() == {"group", "kind", "name", "package", "version", "where", "problem"}
        assert row["package"] == "mustherd"
        assert row["problem"] == ""


def test_another_package_s_are_told_from_ours(tmp_path: Path) -> None:
    folder = site(
        tmp_path, "ice-age", WHOLE, {"mustherd.policies": {"ice": "Ice"}, "mustherd.searches": {"walk": "walk"}}
    )
    code, out, err = listed(folder)
    assert (code, err) == (0, "")
    found = [row for row in json.loads(out)["plugins"] if row["package"] != "mustherd"]
    assert [(row["kind"], row["name"], row["package"], row["version"], row["where"]) for row in found] == [
        ("policy", "ice", "ice-age", "1.0", "ice_age:Ice"),
        ("search", "walk", "ice-age", "1.0", "ice_age:walk"),
    ]


BROKEN = {
    "half": (WHOLE, "Half", "lacks close, compares, observe, why_enough"),
    "missing": (WHOLE, "Missing", "can't be loaded: AttributeError"),
    "raising": ("raise OSError('no\\ndisk')", "Ice", "can't be loaded: OSError: no disk"),
    "leaving": ("import sys; sys.exit(0)", "Ice", "can't be loaded: SystemExit: 0"),
    "unreadable": ("def :", "Ice", "can't be loaded: SyntaxError"),
}


def test_each_broken_one_is_one_line_and_the_others_stay(tmp_path: Path) -> None:
    for name, (module, attribute, _) in BROKEN.items():
        site(tmp_path, f"{name}-package", module, {"mustherd.policies": {name: attribute}})
    site(tmp_path, "ice-age", WHOLE, {"mustherd.policies": {"ice": "Ice"}})
    code, out, err = listed(tmp_path)
    assert (code, err) == (3, "")
    problems = {row["name"]: row["problem"] for row in json.loads(out)["plugins"] if row["problem"]}
    assert problems.keys() == BROKEN.keys()
    for name, (_, attribute, said) in BROKEN.items():
        head = f"policy '{name}' of {name}-package 1.0 ({name}_package:{attribute}) "
        assert problems[name].startswith(head + said)
    code, out, _ = listed(tmp_path, json_=False)
    assert code == 3
    for name, (_, _, said) in BROKEN.items():
        [line] = [line for line in out.splitlines() if f" {name} " in line]
        assert said in line


OPTIONS = {
    "Deep": ("class Options: depth = 1", "ice_age.Deep.Options is neither a dataclass nor a msgspec struct"),
    "Unsound": (
        "@dataclass\n    class Options:\n        def __post_init__(self): print('made'); raise KeyError('nothing')",
        "ice_age.Unsound.Options can't be used: KeyError: 'nothing' (",
    ),
    "Forward": (
        "@dataclass\n    class Options: depth: 'Nowhere' = 1",
        "ice_age.Forward.Options can't be used: NameError: name 'Nowhere' is not defined",
    ),
    "Torn": (
        "@dataclass\n    class Options: depth: list[int] | tuple[str, ...] = ()",
        "ice_age.Torn.Options can't be used: TypeError: Type unions may not contain more than one array-like",
    ),
    "Filed": (
        "@dataclass\n    class Options: file: Path",
        "policy 'filed' of ice-age 1.0 (ice_age:Filed): no definition can give its option 'file', a Path; allowed: ",
    ),
    "Lazy": (
        "class Late:\n        def __get__(self, *_): raise KeyError('later')\n    Options = Late()",
        "ice_age.Lazy.Options can't be used: KeyError: 'later' (ice_age.py:",
    ),
    "Needy": ("@dataclass\n    class Options: depth: int", ""),
}


def test_options_that_nothing_can_be_made_of_are_told(tmp_path: Path) -> None:
    """They were listed as ok, and broke wherever they were used."""
    classes = "".join(f"class {name}(Ice):\n    {options}\n" for name, (options, _) in OPTIONS.items())
    module = f"from dataclasses import dataclass\nfrom pathlib import Path\n{WHOLE}\n{classes}"
    names = {name.lower(): name for name in OPTIONS}
    unnamed = {"mustherd.nodes": {"ranges": "Ice"}, "mustherd.searches": {"../x": "walk"}}
    names["../y"] = "Ice"
    code, out, _ = listed(site(tmp_path, "ice-age", module, {"mustherd.policies": names, **unnamed}))
    assert code == 3
    problems = {row["name"]: row["problem"] for row in json.loads(out)["plugins"] if row["package"] == "ice-age"}
    for name, (_, said) in OPTIONS.items():
        assert problems[name.lower()].startswith(said)
        assert bool(problems[name.lower()]) == bool(said)
    assert problems["deep"] == OPTIONS["Deep"][1]
    assert (
        problems["ranges"] == "node 'ranges' of ice-age 1.0: nothing can name it: [ranges] is every muster's own table"
    )
    assert problems["../y"].startswith(
        "policy '../y' of ice-age 1.0: nothing can name it; allowed: small letters, digi"
    )
    # A definition can: search: {method: "../x"}.
    assert problems["../x"] == ""


def test_a_name_that_is_taken_is_told(tmp_path: Path) -> None:
    module = WHOLE + 'from mustherd.metrics import Metric\nMETRIC = Metric(name="energy_joules", meaning="x")\n'
    names = {"mustherd.policies": {"tune": "Ice", "ice": "Ice"}, "mustherd.metrics": {"energy_joules": "METRIC"}}
    ours = site(tmp_path / "a", "usurper", module, names)
    other = site(tmp_path / "b", "earlier", WHOLE, {"mustherd.policies": {"ice": "Ice"}})
    code, out, _ = listed(ours, other)
    assert code == 3
    problems = {(row["package"], row["name"]): row["problem"] for row in json.loads(out)["plugins"]}
    assert problems["usurper", "tune"] == "not used: mustherd has one of that name"
    assert problems["usurper", "energy_joules"] == "not used: mustherd has one of that name"
    assert problems["mustherd", "tune"] == ""
    assert problems["usurper", "ice"] == "not used: earlier has one of that name"
    assert problems["earlier", "ice"] == "not used: usurper has one of that name"
