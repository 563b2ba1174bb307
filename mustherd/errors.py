"""The root of every error that a user can cause or fix."""


class UserError(Exception):
    """Its message is the whole story: what, where, what is allowed. A command prints it and ends with `exit_code`."""

    exit_code: int = 2
    """2: the request was wrong and nothing was changed; 3: the herd failed."""
