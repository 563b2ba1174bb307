"""Parts of the package that a plain install leaves out, and what is said to who asks for one of them."""

from importlib.util import find_spec

from mustherd.errors import UserError

PROVISION = "provision"
"""Ansible and paramiko: for nodes beyond this machine."""

DASK = "dask"
"""Dask, and clusters of it: for rows beyond one machine."""

DUCKDB = "duckdb"
"""SQL over rows, on one machine."""


class MissingExtraError(UserError):
    """What was asked for needs packages that aren't installed here; the message says how to get them."""


def need(extra: str, *modules: str) -> None:
    """Go on where `modules`, which the extra brings, are installed; else MissingExtraError."""
    missing = [name.partition(".")[0] for name in modules if find_spec(name.partition(".")[0]) is None]
    if missing:
        raise MissingExtraError(
            f"{' and '.join(dict.fromkeys(missing))} {'is' if len(missing) == 1 else 'are'} not installed, which this"
            f" needs; fix: pip install 'mustherd[{extra}]'"
        )


def lacking(error: ModuleNotFoundError) -> str:
    """What is said of an import that failed because a package isn't installed; '' where it is, or is our own."""
    package = (error.name or "").partition(".")[0]
    try:
        there = not package or package == "mustherd" or find_spec(package) is not None
    except ValueError:
        there = False
    if there:
        return ""
    return (
        f"{package} is not installed, which this needs; fix: on a node that has only what a muster needs, run it on the"
        " shepherd's node instead; elsewhere pip install mustherd"
    )
