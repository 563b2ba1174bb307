"""What can go wrong with a load."""

from mustherd.reasons import Reason


class LoadError(Exception):
    """A load that could not be offered or measured; `reason` is a code, the message says what was found."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
