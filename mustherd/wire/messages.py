"""Everything that may cross the wire: a closed set of structs, each field bounded.

A frame is one MessagePack value with a tag that chooses the struct. Decoding checks types, lengths and ranges; no
name in a message is ever looked up as code.
"""

from typing import Annotated, TypeAlias

import msgspec

from mustherd.terms import (
    MAX_VALUE,
    Energy,
    Facts,
    KnobInfo,
    Load,
    LoadReport,
    Reading,
    Setting,
    Text,
    Word,
    Zone,
)

PROTOCOL_VERSION = 5
"""Raised whenever a message changes; a muster of another version is refused at hello with both numbers."""

MAX_PULSE_BYTES = 256 * 1024
MAX_CONTROL_BYTES = 256 * 1024
MAX_LOG_BYTES = 640 * 1024
"""A muster cuts its rows into blocks of 512 KiB; with the queue's length this bounds what one may pile up."""
MAX_CALL_BYTES = 256 * 1024
"""What an operator may ask in one go."""
MAX_COORDINATE_BYTES = 16 * 1024 * 1024
"""Of an answer. A status of a whole herd is the largest: a thousand musters with their facts, knobs and readings."""

NAME_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$(?!\n)"
"""Names of musters and groups, and labels: short, printable, and safe as a file name and as a topic. `$` alone would
let a newline pass at the end."""

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUE)]
Session: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_VALUE)]
"""A random number that tells one life of a process from the next."""
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e7)]
Moment: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A time on somebody's clock; bounds keep out what is not a number."""
Label: TypeAlias = Name
"""What rows belong to, such as attempt 1 of trial 7, `0007-1`: safe as a file name."""
MAX_COLUMNS = 256
"""Of a stream of rows."""

Columns: TypeAlias = Annotated[tuple[Word, ...], msgspec.Meta(max_length=MAX_COLUMNS)]
MAX_STREAMS = 1024
"""Of a node."""

Streams: TypeAlias = Annotated[tuple[Word, ...], msgspec.Meta(max_length=MAX_STREAMS)]
RowCounts: TypeAlias = Annotated[dict[Word, Count], msgspec.Meta(max_length=MAX_STREAMS)]
"""Rows by stream."""
Settings: TypeAlias = Annotated[tuple[Setting, ...], msgspec.Meta(max_length=2048)]
Readings: TypeAlias = Annotated[tuple[Reading, ...], msgspec.Meta(max_length=2048)]


# --- pulse, up: from a muster ---------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """A muster introduces itself; sent again until it is welcomed or refused."""

    version: int
    muster: Name
    muster_epoch: Session
    facts: Facts
    knobs: Annotated[tuple[KnobInfo, ...], msgspec.Meta(max_length=1024)]
    zones: Annotated[tuple[Zone, ...], msgspec.Meta(max_length=256)]
    streams: Streams
    groups: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)]
    lease_s: Seconds
    sent_s: Moment
    """On the muster's clock; the welcome repeats it."""


class Stranger(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """What can be read of a hello of another protocol version: enough to refuse it with a reason."""

    version: int


class MusterBeat(msgspec.Struct, frozen=True, kw_only=True, tag="mbeat"):
    """A muster is alive, and this is the decision in force on it (0: the node as it was found)."""

    muster_epoch: Session
    shepherd_epoch: Session
    in_force: Count
    ack: Count
    reports: Count
    """Reports sent so far: a beat that is older than a report already delivered says nothing about what is in force."""
    malformed: Count = 0
    unrestored: Count = 0
    """Knobs that the muster could not put back: somebody has to look."""
    carrying: Count = 0
    """The decision that it is carrying out, or has to let wait meanwhile: the shepherd waits for it."""


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag="frame"):
    """A numbered report of a muster or order of a shepherd: see mustherd.herd.link."""

    muster_epoch: Session
    shepherd_epoch: Session
    seq: Session
    ack: Count
    body: msgspec.Raw


class Applied(msgspec.Struct, frozen=True, kw_only=True, tag="applied"):
    """What became of decision `seq`, with every knob it named read back."""

    seq: Session
    outcome: Annotated[str, msgspec.Meta(pattern="^(applied|refused|failed|restored)$(?!\n)")]
    readings: Readings
    detail: Text = ""


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """Energy, knobs and, where the node ran it, load over one window of the node's clock."""

    measure: Session
    in_force: Count
    t0_s: Moment
    t1_s: Moment
    energies: Annotated[tuple[Energy, ...], msgspec.Meta(max_length=256)]
    before: Readings
    after: Readings
    load: LoadReport | None
    rows: RowCounts
    """Rows that each stream's source produced in the window."""
    rows_lost: RowCounts
    """Of these, rows that the source itself lost."""
    last_block: Count
    """Number of the last log block that belongs to this window, in `spool`; 0 when there is none."""
    spool: Count = 0
    meter_error: Text = ""
    counts: Annotated[dict[Word, Annotated[float, msgspec.Meta(ge=0)]], msgspec.Meta(max_length=256)] = {}
    """What the node counted by itself in the window, by metric."""


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """A window that waited for `Open` began at `t0_s` of the node's clock."""

    measure: Session
    t0_s: Moment


class NotMeasured(msgspec.Struct, frozen=True, kw_only=True, tag="notmeasured"):
    """A window could not be measured; `reason` is a code, `detail` a sentence."""

    measure: Session
    reason: Word
    detail: Text


class Logged(msgspec.Struct, frozen=True, kw_only=True, tag="logged"):
    """What became of a log order; `rows` and `rows_lost` since the streams were started."""

    order: Session
    error: Text
    """Empty when it was carried out."""
    spool: Count
    last_block: Count
    rows: RowCounts
    rows_lost: RowCounts


class Restored(msgspec.Struct, frozen=True, kw_only=True, tag="restored"):
    """The muster put the node back as it was found, unasked: the lease ran out, or a former life left it changed."""

    reason: Text
    readings: Readings


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="bye"):
    """The muster leaves on purpose, its knobs restored."""

    muster_epoch: Session


# --- pulse, down: from the shepherd ---------------------------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """The shepherd of `shepherd_epoch` takes the muster of `muster_epoch` into its herd."""

    version: int
    muster_epoch: Session
    shepherd_epoch: Session
    sent_s: Moment
    hello_s: Moment
    """The hello's `sent_s`: how long ago it was asked for, on the muster's own clock."""
    log: Count = 0
    """The log that this shepherd writes, the same after it was started again; 0: none, so rows are not kept for it."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The muster may not join, and why; it says so and tries again later."""

    version: int
    reason: Text
    ended: Count = 0
    """The muster epoch that the shepherd has ended, where that is the reason: a process that lives begins another."""


class WhoAreYou(msgspec.Struct, frozen=True, tag="who"):
    """The shepherd got a beat from a muster that it doesn't know: say hello."""


class ShepherdBeat(msgspec.Struct, frozen=True, kw_only=True, tag="sbeat"):
    """The shepherd is alive; renews the lease of the decision in force. `sent_s` is on the shepherd's clock."""

    muster_epoch: Session
    shepherd_epoch: Session
    sent_s: Moment
    wanted: Count
    """The decision in force or under way; 0: the node shall be as it was found, so whatever is in force ends."""
    ack: Count


class Measure(msgspec.Struct, frozen=True, kw_only=True, tag="measure"):
    """Measure one window: settle, flush logs, start the load where the node runs it, ramp, count."""

    measure: Session
    settle_s: Seconds
    ramp_s: Seconds
    window_s: Seconds
    load: Load | None
    seed: Count
    label: Label
    """What the window's log rows belong to."""
    outside: bool = False
    """The load comes from elsewhere: once settled, the muster waits for `Open` with the window's start."""
    changing: bool = False
    """Decisions that set knobs belong to it; of any other window they are the end."""


class Open(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """The load from elsewhere is being measured: open the window now; answered with Opened."""

    measure: Session


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    """Stop measuring; answered with NotMeasured unless it had ended."""

    measure: Session


class LogAction(msgspec.Struct, frozen=True, kw_only=True):
    """Of streams outside a window: read on from now, throw away what has piled up, or read to the end and stop."""

    action: Annotated[str, msgspec.Meta(pattern="^(start|stop|flush)$(?!\n)")]
    streams: Streams = ()
    """None: all of the node's."""
    label: Label = "by-hand"
    every: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    """Of text streams, keep one row in so many."""
    columns: Columns = ()
    """Of text streams, keep these columns (and the row's number); none: all."""


class LogOrder(msgspec.Struct, frozen=True, kw_only=True, tag="logorder"):
    """Do something with streams; answered with Logged."""

    order: Session
    wanted: LogAction


# --- control --------------------------------------------------------------------------------------------------------


class Decision(msgspec.Struct, frozen=True, kw_only=True, tag="decision"):
    """What the knobs of a muster shall be; without settings: the node as it was found."""

    shepherd_epoch: Session
    seq: Session
    issued_s: Moment
    """When this copy was sent, on the shepherd's clock."""
    ttl_s: Seconds
    """A copy older than this is not acted on."""
    settings: Settings


# --- log ------------------------------------------------------------------------------------------------------------


class Block(msgspec.Struct, frozen=True, kw_only=True, tag="block"):
    """Rows of one stream; the rows themselves follow as a frame of their own, `form` says how.

    `text`: lines as the source wrote them. `columns`: a `Rows`. Numbered over all streams of a spool.
    """

    muster_epoch: Session
    shepherd_epoch: Session
    spool: Session
    """The muster's spool, which outlives its process: numbers and durability belong to it."""
    seq: Session
    label: Label
    stream: Word
    form: Annotated[str, msgspec.Meta(pattern="^(text|columns)$(?!\n)")]
    columns: Columns
    every: Annotated[int, msgspec.Meta(ge=1)] = 1
    """The muster kept one row in so many."""
    pass_begins: bool = False
    """The first block since the source was last read to its end, which empties it."""
    again: bool = False
    """The muster started anew: rows that its former life sent may come again, and are known by their timestamps."""
    continues: bool = False
    """The first line began in the block before."""
    unfinished: bool = False
    """The last line goes on in the next block."""
    overrun: bool = False
    """The source's buffer had been full when this pass began: what happened meanwhile was not logged."""


class RowColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The second frame of a block of form `columns`; `first` is the number of the first row."""

    first: Count
    columns: Annotated[dict[Word, tuple[float, ...]], msgspec.Meta(max_length=MAX_COLUMNS)]


class Offer(msgspec.Struct, frozen=True, kw_only=True, tag="offer"):
    """A muster's spool has blocks from `first` on for this shepherd's log; answered with a credit that says more."""

    muster_epoch: Session
    shepherd_epoch: Session
    spool: Session
    first: Session


class Credit(msgspec.Struct, frozen=True, kw_only=True, tag="credit"):
    """Of a spool, blocks up to `ack` are durable, up to `got` taken; `window` bytes beyond `ack` may be sent."""

    muster_epoch: Session
    shepherd_epoch: Session
    spool: Session
    ack: Count
    got: Count
    window: Count


# --- coordinate -----------------------------------------------------------------------------------------------------


class StatusAsk(msgspec.Struct, frozen=True, tag="status?"):
    """An operator asks who is in the herd, and how it is."""


class StopAsk(msgspec.Struct, frozen=True, tag="stop?"):
    """End the experiment after putting every node back; the trial under way is run again on resume."""


class KnobsAsk(msgspec.Struct, frozen=True, kw_only=True, tag="knobs?"):
    """Set knobs of one muster by hand (`settings`), or give it back (none); refused while an experiment runs."""

    muster: Name
    settings: Settings


class LogAsk(msgspec.Struct, frozen=True, kw_only=True, tag="log?"):
    """Start, stop or flush log streams of one muster by hand."""

    muster: Name
    wanted: LogAction


class MusterView(msgspec.Struct, frozen=True, kw_only=True):
    """One muster as the shepherd knows it now. `mustherd herd status --json` prints it under the names given here."""

    name: str = msgspec.field(name="muster")
    presence: str = msgspec.field(name="state")
    silent_s: float = msgspec.field(name="heard_s_ago")
    muster_epoch: int
    facts: Facts
    knobs: tuple[KnobInfo, ...]
    zones: tuple[Zone, ...]
    streams: tuple[str, ...]
    in_force: int
    times_late: int
    """How often it has been late or worse: a trial compares it before and after."""
    unrestored: int
    answer_ms: float | None
    """From the newest decision to its answer with the values read back."""
    readings: tuple[Reading, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True, tag="status"):
    """Answer to StatusAsk."""

    experiment: str
    folder: str
    musters: tuple[MusterView, ...]
    malformed: int
    left_out: tuple[str, ...] = ()
    """What of each muster would not fit into the answer."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The request was carried out."""

    readings: Readings = ()
    rows: RowCounts = {}
    rows_lost: RowCounts = {}


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The request was not carried out, and why."""

    reason: Text


class Call(msgspec.Struct, frozen=True, kw_only=True, tag="call"):
    """An operator's request with the number that its answer repeats."""

    number: Session
    body: StatusAsk | StopAsk | KnobsAsk | LogAsk


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag="answer"):
    """The answer to call `number`."""

    number: Session
    body: Status | Done | Refused


Report: TypeAlias = Applied | Measured | Opened | NotMeasured | Logged | Restored | Bye
Order: TypeAlias = Measure | Open | Cancel | LogOrder
Up: TypeAlias = Hello | MusterBeat | Frame
Down: TypeAlias = Welcome | Refusal | WhoAreYou | ShepherdBeat | Frame
