"""`-v` on every verb: each step on stderr as it is taken."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say each step on stderr: decisions, logins, tasks, programs.")
]

OURS = "mustherd"
"""The logger whose steps are said; other packages' have their own level, from which only warnings pass."""


def on_every_verb(app: typer.Typer) -> None:
    """Give `-v` to each verb below `app` that has none of its own."""
    for verb in app.registered_commands:
        if verb.callback is not None:
            verb.callback = _with(verb.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            on_every_verb(group.typer_instance)


def _with(callback: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(callback)
    if "verbose" in signature.parameters:
        return callback

    @functools.wraps(callback)
    def verb(*args: Any, verbose: bool = False, **options: Any) -> Any:
        if verbose:
            say_steps()
        return callback(*args, **options)

    asked = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbose)
    verb.__signature__ = signature.replace(parameters=[*signature.parameters.values(), asked])  # type: ignore[attr-defined]
    verb.__annotations__ = {**callback.__annotations__, "verbose": Verbose}
    return verb


def say_steps() -> None:
    """Write our loggers' lines on stderr, whatever stderr is at the time: a live view has lines pass above itself."""
    import logging

    from mustherd.log_lines import LINE, say_on_stderr

    logging.getLogger(OURS).setLevel(logging.DEBUG)
    say_on_stderr(LINE)


def says_steps() -> bool:
    """Whether that was asked for."""
    import logging

    return logging.getLogger(OURS).isEnabledFor(logging.DEBUG)
