"""`import mustherd` costs next to nothing, and gives everything by name."""

import subprocess
import sys
from importlib import metadata, resources

import pytest

import mustherd

pytestmark = pytest.mark.process

HEAVY = ("pandas", "numpy", "pydantic", "pyarrow", "scipy", "typer", "rich", "ansible", "ansible_runner", "zmq", "yaml")


def imported(code: str) -> set[str]:
    """What a fresh interpreter has imported after `code` beyond what it begins with."""
    show = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_an_import_takes_next_to_nothing() -> None:
    modules = imported("import mustherd; mustherd.__version__")
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)
    # Counted, since a clock would measure the machine: of our own the package alone, and little of the library's.
    assert {name for name in modules if name.partition(".")[0] == "mustherd"} == {"mustherd"}
    assert len(modules) < 40


def test_a_run_s_function_is_had_without_the_numeric_libraries() -> None:
    assert not {name.partition(".")[0] for name in imported("import mustherd; mustherd.run, mustherd.open")} & set(
        HEAVY
    )


def test_every_name_that_is_told_is_there() -> None:
    assert set(mustherd.__all__) <= set(dir(mustherd))
    for name in mustherd.__all__:
        assert getattr(mustherd, name) is not None, name
    with pytest.raises(AttributeError, match="module 'mustherd' has no attribute 'rum'"):
        _ = mustherd.rum  # type: ignore[attr-defined]


def test_its_version_is_the_package_s() -> None:
    assert mustherd.__version__ == metadata.version("mustherd")


def test_it_says_that_it_is_typed() -> None:
    assert resources.files("mustherd").joinpath("py.typed").is_file()
