"""What a muster says of itself, and how reports and log rows fit into messages."""

from collections.abc import Iterator

import msgspec

from mustherd.muster.config import Config
from mustherd.node.logger import Rows
from mustherd.node.node import Node
from mustherd.reasons import Reason
from mustherd.terms import KnobInfo
from mustherd.wire import codec
from mustherd.wire import messages as m

BLOCK_VALUES = 8192
"""Numbers in one block of log rows at most: some 70 KiB on the wire."""


def introduction(  # noqa: PLR0917
    config: Config, node: Node, knobs: tuple[KnobInfo, ...], streams: tuple[str, ...], muster_epoch: int, now: float
) -> m.Hello:
    """Who a muster is, in this life of it, and what its node offers."""
    return m.Hello(
        version=m.PROTOCOL_VERSION,
        muster=config.muster,
        muster_epoch=muster_epoch,
        facts=node.facts,
        knobs=knobs,
        zones=tuple(node.meter.zones) if node.meter is not None else (),
        streams=streams,
        groups=config.groups,
        lease_s=config.lease_s,
        sent_s=now,
    )


def frame(muster_epoch: int, shepherd_epoch: int, seq: int, ack: int, report: m.Report) -> m.Frame:
    """A report on the link between the two lives, as its message number `seq`."""
    return m.Frame(muster_epoch=muster_epoch, shepherd_epoch=shepherd_epoch, seq=seq, ack=ack, body=codec.raw(report))


def fitting(report: m.Report) -> m.Report:
    """`report`, or what can be said of it in one message."""
    if len(codec.encode(report)) < m.MAX_PULSE_BYTES // 2:
        return report
    if isinstance(report, m.Measured):
        return m.NotMeasured(
            measure=report.measure, reason=Reason.REPORT_TOO_LARGE, detail="it doesn't fit into a message"
        )
    if isinstance(report, m.Applied | m.Restored):
        return msgspec.structs.replace(report, readings=())
    return report


def pieces(rows: Rows) -> Iterator[Rows]:
    """`rows` in runs of at most BLOCK_VALUES numbers."""
    size = max(1, BLOCK_VALUES // max(1, len(rows.columns)))
    for start in range(0, len(rows), size):
        columns = {name: column[start : start + size] for name, column in rows.columns.items()}
        yield Rows(first=rows.first + start, columns=columns)
