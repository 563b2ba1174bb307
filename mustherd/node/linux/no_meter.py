"""Said where a machine has no energy counter of some kind."""


class NoMeterError(Exception):
    """The machine has no energy counter of this kind at all."""
