"""A running herd by hand, from Python: its musters, their knobs, their logs, through the shepherd that they follow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mustherd.definition.knobs import value as knob_value
from mustherd.definition.units import QuantityError
from mustherd.herd.membership import Presence
from mustherd.shepherd import operate
from mustherd.shepherd.operate import LOCAL, OperateError
from mustherd.terms import KnobInfo, Reading, Setting, settings_of
from mustherd.wire import codec
from mustherd.wire.messages import Call, KnobsAsk, LogAction, LogAsk, MusterView, Status


class StreamRows(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream's rows came to since it was started."""

    muster: str
    stream: str
    produced: int
    lost: int


class HerdClient:
    """An operator of a running shepherd (`mustherd shepherd run`). Each call is a question and its answer.

    Every method may raise WireError where no shepherd answers, and KeysError.
    """

    def __init__(self, shepherd: str = LOCAL, keys: Path | str | None = None) -> None:
        """`shepherd` is HOST or HOST:PORT; `keys` a folder with the operator's key, needed beyond loopback.

        OperateError for an address that makes no sense.
        """
        operate.address(shepherd)
        self._shepherd = shepherd
        self._keys = None if keys is None else Path(keys)

    def status(self) -> Status:
        """The herd as its shepherd sees it now."""
        return operate.status(self._shepherd, self._keys)

    def musters(self) -> tuple[MusterView, ...]:
        """Every muster, with its knobs and what was read back last."""
        return self.status().musters

    def muster(self, name: str) -> MusterView:
        """One muster. OperateError when it isn't there."""
        return operate.muster(name, self._shepherd, self._keys)

    def read(self, muster: str) -> tuple[Reading, ...]:
        """What a node's knobs hold: read now where nothing is in force, and nothing is written.

        Where a decision is in force, or an experiment runs, as they were read back last. OperateError; RefusedError.
        """
        herd = self.status()
        found = operate.among(herd, muster)
        if herd.experiment or found.in_force or found.presence != Presence.ALIVE:
            return found.readings
        return operate.carry_out(KnobsAsk(muster=muster, settings=()), self._shepherd, self._keys).readings

    def set(self, muster: str, values: Mapping[str, int | str]) -> tuple[Reading, ...]:
        """Set knobs of a muster, and give what was read back; knobs that were set before keep their values.

        A key is a knob's name, or `knob@sheep`; a value is in the knob's unit, or text with one: `1.9 GHz`. They hold
        while the shepherd runs. OperateError for what the muster doesn't offer, and nothing is changed; RefusedError
        where it could not be done.
        """
        found = self.muster(muster)
        settings = _settings(found, values)
        return operate.carry_out(KnobsAsk(muster=muster, settings=settings), self._shepherd, self._keys).readings

    def restore(self, muster: str) -> tuple[Reading, ...]:
        """Have a muster put its node back as it was found, and give what was read back. RefusedError."""
        return operate.carry_out(KnobsAsk(muster=muster, settings=()), self._shepherd, self._keys).readings

    def start_logs(
        self,
        muster: str,
        streams: Sequence[str] = (),
        *,
        label: str = "by-hand",
        every: int = 1,
        columns: Sequence[str] = (),
    ) -> list[StreamRows]:
        """Have a muster read its text streams from now on, outside any trial; its shepherd must write a log.

        None named: all of them. `every`: keep one row in so many; `columns`: keep these, and the row's number.
        OperateError for words that can't be a label or a stream; RefusedError.
        """
        ask = _log_ask(muster, "start", streams, label=label, every=every, columns=columns)
        view = self.muster(muster)
        if why := view.facts.text.get("no_intlog"):
            sampled = (
                f"; its card is sampled ({', '.join(view.streams)}), in the windows of trials" if view.streams else ""
            )
            raise OperateError(f"{muster} has no text stream to read by hand: {why}{sampled}")
        return self._rows(ask)

    def flush_logs(self, muster: str, streams: Sequence[str] = ()) -> list[StreamRows]:
        """Throw away what has piled up in a node's sources; streams that were started stop. Errors as above."""
        return self._rows(_log_ask(muster, "flush", streams))

    def stop_logs(self, muster: str, streams: Sequence[str] = ()) -> list[StreamRows]:
        """Read streams to their end, close them, and give their rows since they were started. Errors as above."""
        return self._rows(_log_ask(muster, "stop", streams))

    def _rows(self, ask: LogAsk) -> list[StreamRows]:
        done = operate.carry_out(ask, self._shepherd, self._keys)
        return [
            StreamRows(muster=ask.muster, stream=name, produced=count, lost=done.rows_lost.get(name, 0))
            for name, count in done.rows.items()
        ]


def _log_ask(
    muster: str,
    action: str,
    streams: Sequence[str],
    *,
    label: str = "by-hand",
    every: int = 1,
    columns: Sequence[str] = (),
) -> LogAsk:
    """What a shepherd is asked about log streams. OperateError for words that it would drop as malformed."""
    wanted = LogAction(action=action, streams=tuple(streams), label=label, every=every, columns=tuple(columns))
    ask = LogAsk(muster=muster, wanted=wanted)
    try:
        codec.call(codec.encode(Call(number=1, body=ask)))
    except ValueError as error:
        raise OperateError(str(error)) from None
    return ask


def _settings(muster: MusterView, values: Mapping[str, int | str]) -> tuple[Setting, ...]:
    """Every setting that is to hold on a muster once `values` do. OperateError."""
    if not values:
        raise OperateError("name a knob and its value, as in itr-delay=100")
    asked = {key: _value(key, value, muster.knobs) for key, value in values.items()}
    wanted = {(r.sheep, r.knob): r.asked for r in muster.readings if r.asked is not None}
    try:
        wanted |= {(s.sheep, s.knob): s.value for s in settings_of(asked, muster.knobs)}
    except KeyError as error:
        offered = ", ".join(sorted({knob.name for knob in muster.knobs}))
        raise OperateError(f"{muster.name} offers no knob {error}; it offers {offered}") from None
    for info in muster.knobs:
        value = wanted.get((info.sheep, info.name))
        if value is not None and not info.allows(value):
            raise OperateError(f"{info.name} on {info.sheep}: {value} is not allowed; {info.allowed_text()}")
    return tuple(Setting(sheep, knob, value) for (sheep, knob), value in sorted(wanted.items()))


def _value(key: str, raw: int | str, knobs: Sequence[KnobInfo]) -> int:
    # As the node itself describes the knob: it may know more words, or no package here know the knob.
    info = next((knob for knob in knobs if knob.name == key.partition("@")[0]), None)
    try:
        return knob_value(key, int(raw) if isinstance(raw, str) and raw.isdecimal() else raw, info)
    except QuantityError as error:
        raise OperateError(f"{key}={raw}: {error}; allowed: {error.allowed}") from None
