"""Parts of the package that a plain install leaves out, and what is said to who asks for one of them."""

from importlib.util import find_spec

from mustherd.errors import UserError

PROVISION = "provision"
"""Ansible and paramiko: for nodes beyond this machine."""


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
