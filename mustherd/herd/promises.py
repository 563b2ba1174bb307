"""What `validate` of the herd's rules does where a promise is broken."""


def holds(kept: object, otherwise: str) -> None:
    """Raise AssertionError that says what is wrong `otherwise`; unlike `assert` with python -O, too."""
    if not kept:
        raise AssertionError(otherwise)
