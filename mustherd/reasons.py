"""The catalogue of reason codes: why an attempt at a trial ended without a measurement that counts.

A code says whose fault it was. An attempt that ended for the trial's or the load's fault counts towards
`gates.attempts`, one for anybody else's does not: it says nothing about the trial. Every code has a hyphen, so that no
other word of the program is taken for one. `docs/reference/reasons.md` is made from this catalogue.
"""

from enum import StrEnum


class Fault(StrEnum):
    """Whose fault it was that an attempt ended badly."""

    TRIAL = "trial"
    """The settings, or what was measured under them."""
    LOAD = "load"
    """The server under load, or what loads it."""
    MUSTER = "muster"
    """The muster, its node, or the way to it."""
    SHEPHERD = "shepherd"
    """The process that ran the experiment."""
    OPERATOR = "operator"
    """Somebody who ended the run, or asked for something else."""

    @property
    def counts(self) -> bool:
        """Whether the attempt counts towards `gates.attempts`."""
        return self in (Fault.TRIAL, Fault.LOAD)


class Reason(StrEnum):
    """A reason code. Equal to its text; `of` gives the member for a text that was stored or came over the wire."""

    fault: Fault
    again: bool
    """Whether another attempt may end differently. If not, the trial has failed."""
    sentence: str

    def __new__(cls, code: str, fault: Fault, again: bool, sentence: str) -> "Reason":
        member = str.__new__(cls, code)
        member._value_ = code
        member.fault, member.again, member.sentence = fault, again, sentence
        return member

    # Gates: the window was measured, and what was measured can't be trusted.
    KNOB_NOT_HELD = (
        "knob-not-held", Fault.TRIAL, True, "A knob did not read back as asked, before or after the window.",
    )  # fmt: skip
    DECISION_NOT_IN_FORCE = (
        "decision-not-in-force", Fault.TRIAL, True, "Another decision than the trial's held at the window's end.",
    )  # fmt: skip
    MUSTER_LATE = (
        "muster-late", Fault.TRIAL, True,
        "The muster's heartbeats were late during the trial; the settings may have left it no time to run.",
    )  # fmt: skip
    WINDOW_LENGTH = ("window-length", Fault.TRIAL, True, "The window lasted longer or shorter than asked.")
    WINDOW_MISMATCH = (
        "window-mismatch", Fault.TRIAL, True, "Energy and load were measured over windows too far apart.",
    )  # fmt: skip
    ENERGY_UNREADABLE = ("energy-unreadable", Fault.TRIAL, True, "An energy counter could not be read.")
    ENERGY_IMPLAUSIBLE = (
        "energy-implausible", Fault.TRIAL, True, "The power lies outside what the node can use: a broken counter.",
    )  # fmt: skip
    ENERGY_UNIT = (
        "energy-unit", Fault.TRIAL, True,
        "An energy counter is read in another unit than the one that the processor names for it.",
    )  # fmt: skip
    METERS_DISAGREE = (
        "meters-disagree", Fault.TRIAL, True,
        "Two meters of the same machine are further apart than either may be off, or the whole is less than its parts.",
    )  # fmt: skip
    KNOB_WITHOUT_EFFECT = (
        "knob-without-effect", Fault.TRIAL, True,
        "A knob reads back as asked, and what was measured shows that it did nothing: something else sets it.",
    )  # fmt: skip
    LOAD_MISMATCH = (
        "load-mismatch", Fault.LOAD, True, "Another load was offered than the trial's, whatever was answered of it.",
    )  # fmt: skip
    NO_LOAD = ("no-load", Fault.LOAD, True, "Not one request was answered in the window.")
    GENERATOR_SATURATED = (
        "generator-saturated", Fault.LOAD, True, "The load generator itself was the bottleneck, not the server.",
    )  # fmt: skip
    CACHE_MISSES = ("cache-misses", Fault.LOAD, True, "Too many reads found no value.")
    CHECK_FAILED = ("check-failed", Fault.LOAD, True, "The window breaks one of the workload's own checks.")
    LOG_ROWS_LOST = ("log-rows-lost", Fault.TRIAL, True, "Rows of a native log were lost at their source.")
    LOG_INCOMPLETE = ("log-incomplete", Fault.TRIAL, True, "Not all blocks of the log arrived in time.")
    LOG_SPAN = (
        "log-span", Fault.TRIAL, True,
        "The rows of a log span another time than the window: their clock is not what the node says it is, or an end is"
        " missing.",
    )  # fmt: skip
    LOG_ENERGY = (
        "log-energy", Fault.TRIAL, True,
        "The energy in the rows of a log is not what the meter counted: one of the two is read in a wrong unit.",
    )  # fmt: skip
    METRIC_MISSING = (
        "metric-missing", Fault.TRIAL, True,
        "A metric that the goal needs was not measured: the node or the load doesn't give it.",
    )  # fmt: skip

    # Settings: the node did not take them.
    UNKNOWN_KNOB = ("unknown-knob", Fault.TRIAL, False, "The muster's node has no such knob.")
    DECISION_REFUSED = ("decision-refused", Fault.TRIAL, False, "The node doesn't allow a setting of the trial.")
    DECISION_FAILED = ("decision-failed", Fault.TRIAL, False, "A setting could not be written, or didn't hold at once.")

    # The muster, and the way to it.
    NOT_AS_FOUND = (
        "not-as-found", Fault.MUSTER, True,
        "The node should have been as it was found, and a knob could not be put back.",
    )  # fmt: skip
    MUSTER_UNKNOWN = ("muster-unknown", Fault.MUSTER, True, "No muster of that name is in the herd.")
    MUSTER_MISSING = ("muster-missing", Fault.MUSTER, True, "The muster fell silent.")
    MUSTER_DEAD = ("muster-dead", Fault.MUSTER, True, "The muster was silent for so long that it counts as gone.")
    MUSTER_LEFT = ("muster-left", Fault.MUSTER, True, "The muster left the herd on purpose.")
    MUSTER_RESTARTED = ("muster-restarted", Fault.MUSTER, True, "The muster's process was started again.")
    NO_ANSWER = ("no-answer", Fault.MUSTER, True, "The muster did not answer in time.")
    WINDOW_DROPPED = (
        "window-dropped", Fault.MUSTER, True,
        "The muster gave the window up: its lease was over, it stopped, or a decision or window took its place.",
    )  # fmt: skip
    NODE_ERROR = ("node-error", Fault.TRIAL, True, "The node's driver failed while the window was measured.")
    REPORT_TOO_LARGE = (
        "report-too-large", Fault.TRIAL, False, "What the window saw doesn't fit into a message.",
    )  # fmt: skip
    BAD_REPORT = ("bad-report", Fault.TRIAL, True, "The muster sent a report that can't be read.")
    REPORT_IMPLAUSIBLE = (
        "report-implausible", Fault.TRIAL, True,
        "The muster reported numbers that nobody can have measured, or that don't fit what it was asked for.",
    )  # fmt: skip
    LINK_FULL = ("link-full", Fault.TRIAL, True, "Too many orders to the muster are not acknowledged.")

    # The load.
    TOOL_MISSING = ("tool-missing", Fault.LOAD, False, "A program that makes the load is not installed.")
    SERVER_FAILED = ("server-failed", Fault.LOAD, True, "The server did not start, or ended by itself.")
    SERVER_UNREACHABLE = ("server-unreachable", Fault.LOAD, True, "The server did not answer.")
    SERVER_MISMATCH = (
        "server-mismatch", Fault.LOAD, False,
        "What answers is not the server that was asked for: another program, version, port or number of threads.",
    )  # fmt: skip
    LOAD_TIMEOUT = ("load-timeout", Fault.LOAD, True, "The load did not end when it should have.")
    AGENT_DEAD = ("agent-dead", Fault.LOAD, True, "A load agent is not there, or left while the load ran.")
    VERSION_MISMATCH = (
        "version-mismatch", Fault.LOAD, False,
        "The load's leader and agents are not the same build, and they exchange raw structs.",
    )  # fmt: skip
    LOAD_FAILED = ("load-failed", Fault.LOAD, True, "The load generator ended with an error.")
    OUTPUT_UNREADABLE = (
        "output-unreadable", Fault.LOAD, True, "The load generator's output does not hold what it should.",
    )  # fmt: skip
    NO_SAMPLES = ("no-samples", Fault.LOAD, True, "The load generator measured no latency.")

    # The run itself.
    SHEPHERD_DIED = (
        "shepherd-died", Fault.SHEPHERD, True, "The process that ran the experiment was gone before the trial ended.",
    )  # fmt: skip
    SHEPHERD_ERROR = ("shepherd-error", Fault.SHEPHERD, True, "The shepherd broke on the request: a bug.")
    SHEPHERD_STOPPED = ("shepherd-stopped", Fault.SHEPHERD, True, "The shepherd has stopped and answers nobody.")
    RUN_ENDED = ("run-ended", Fault.OPERATOR, True, "The run was stopped, or ended, before the trial did.")
    BUDGET_SPENT = ("budget-spent", Fault.OPERATOR, False, "The budget was used up before the trial was begun.")
    DECISION_SUPERSEDED = (
        "decision-superseded", Fault.OPERATOR, True, "A newer decision for the muster took the trial's place.",
    )  # fmt: skip

    UNKNOWN_CODE = (
        "unknown-code", Fault.TRIAL, True, "Another version of mustherd made the code; the trial's detail says more.",
    )  # fmt: skip


def of(code: str) -> Reason:
    """The reason that a stored or received code stands for; `UNKNOWN_CODE` where this version doesn't know it."""
    try:
        return Reason(code)  # type: ignore[call-arg]  # a look-up by value; mypy takes it for __new__
    except ValueError:
        return Reason.UNKNOWN_CODE


def table() -> str:
    """The catalogue as a table in Markdown."""
    lines = ["| code | whose fault | another attempt | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{r}` | {r.fault} | {'yes' if r.again else 'no'} | {r.sentence} |" for r in Reason]
    return "\n".join(lines)
