"""What can go wrong with a load, as a reason code with a sentence."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a load could not be offered or measured."""

    TOOL_MISSING = "tool-missing"
    """A program that was to be run is not installed."""
    SERVER_FAILED = "server-failed"
    """memcached did not start, or ended by itself."""
    SERVER_UNREACHABLE = "server-unreachable"
    """memcached did not answer in time."""
    SERVER_MISMATCH = "server-mismatch"
    """What answers is not the memcached that was asked for: another version, port or number of threads."""
    TIMEOUT = "load-timeout"
    """The load did not end when it should have."""
    AGENT_DEAD = "agent-dead"
    """An agent is not there, or left while the load ran."""
    VERSION_MISMATCH = "version-mismatch"
    """Leader and agents are not the same build: they exchange raw structs."""
    LOAD_FAILED = "load-failed"
    """The load generator ended with an error."""
    OUTPUT_UNREADABLE = "output-unreadable"
    """The load generator's output does not hold what it should."""
    NO_SAMPLES = "no-samples"
    """No latency was measured: the zeros printed are none."""


class LoadError(Exception):
    """A load that could not be offered or measured; `reason` is a code, the message says what was found."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
