"""What musters are asked for, and who waits for each answer."""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from mustherd import reasons
from mustherd.herd.decisions import Action, Decisions, GaveUp, Lost, Publish
from mustherd.herd.link import LinkFullError
from mustherd.herd.timing import DECISION_TTL_S
from mustherd.reasons import Reason
from mustherd.shepherd.events import DecisionLost, HerdError, HerdEvent, PutBack
from mustherd.shepherd.roster import Roster
from mustherd.shepherd.session import MusterSession, reject
from mustherd.terms import Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

log = logging.getLogger(__name__)


class Orders:
    """Every future that is given to it ends: with the muster's answer or with a HerdError. For one thread."""

    def __init__(
        self,
        end: ShepherdEndpoint,
        roster: Roster,
        decisions: Decisions,
        shepherd_epoch: int,
        *,
        tell: Callable[[HerdEvent], None],
        now: Callable[[], float],
    ) -> None:
        self._end = end
        self._roster = roster
        self._decisions = decisions
        self._shepherd_epoch = shepherd_epoch
        self._tell = tell
        self._now = now

    def decide(self, name: str, settings: tuple[Setting, ...], future: Future[m.Applied]) -> None:
        """Want `settings` of a muster; `future` gets its answer or a HerdError."""
        try:
            muster = self._roster.present(name)
        except HerdError as error:
            reject(future, error)
            return
        now = self._now()
        for waiting, _ in muster.deciding.values():
            reject(waiting, HerdError(Reason.DECISION_SUPERSEDED, f"a newer decision for muster {name} took its place"))
        muster.deciding.clear()
        action = self._decisions.decide(name, settings, now)
        muster.deciding[action.seq] = (future, now)
        log.debug("decision %d for %s: %s", action.seq, name, ", ".join(map(_said, settings)) or "as found")
        self.act([action])

    def measure(self, name: str, order: m.Measure, future: Future[m.Measured]) -> None:
        """Have a window measured; `future` gets what it saw or a HerdError."""
        if muster := self._sent(name, order, future):
            muster.measuring[order.measure] = future

    def open(self, name: str, measure: int, future: Future[m.Opened]) -> None:
        """Have a window opened that waits for it; `future` gets when it began or a HerdError."""
        if muster := self._sent(name, m.Open(measure=measure), future):
            muster.opening[measure] = future

    def cancel(self, name: str, measure: int) -> None:
        """Have a window given up, where its muster is still there."""
        muster = self._roster.sessions.get(name)
        if muster is None or measure not in muster.measuring:
            return
        with suppress(LinkFullError):
            numbered = muster.link.send(m.Cancel(measure=measure), self._now())
            self._roster.to_send(name, muster)
            self._transmit(name, muster, numbered.seq, numbered.body)

    def log_order(self, name: str, order: m.LogOrder, future: Future[m.Logged]) -> None:
        """Have streams started, stopped or flushed; `future` gets what became of it or a HerdError."""
        if muster := self._sent(name, order, future):
            muster.logging[order.order] = future

    def reported(self, name: str, muster: MusterSession, report: m.Report) -> None:
        """A muster's report: whoever waits for it gets it."""
        match report:
            case m.Applied():
                muster.readings = report.readings
                why = f": {report.detail}" if report.detail else ""
                log.debug("decision %d: %s is %s%s", report.seq, name, report.outcome, why)
                holds = report.outcome == "applied"
                muster.in_force = report.seq if holds else 0
                self._decisions.answered(name, report.seq, holds=holds)
                waiting = muster.deciding.pop(report.seq, None)
                if waiting is not None:
                    muster.answer_ms = (self._now() - waiting[1]) * 1000
                self._roster.show(name)
                if waiting is not None:
                    waiting[0].set_result(report)
            case m.Measured():
                measured = muster.measuring.pop(report.measure, None)
                if measured is not None:
                    measured.set_result(report)
            case m.Opened():
                opened = muster.opening.pop(report.measure, None)
                if opened is not None:
                    opened.set_result(report)
            case m.NotMeasured():
                reason = reasons.of(report.reason)
                code = f"{report.reason}: " if reason is Reason.UNKNOWN_CODE else ""
                error = HerdError(reason, f"muster {name}: {code}{report.detail}")
                for books in (muster.measuring, muster.opening):
                    future = books.pop(report.measure, None)
                    if future is not None:
                        reject(future, error)
            case m.Logged():
                logged = muster.logging.pop(report.order, None)
                if logged is not None:
                    logged.set_result(report)
            case m.Restored():
                muster.readings = report.readings
                muster.in_force = 0
                self._roster.show(name)
                self._tell(PutBack(name, report.reason, report.readings))
            case m.Bye():
                self._roster.left(name, report.muster_epoch)

    def act(self, actions: Iterable[Action]) -> None:
        """Do what the decisions' state machine wants done."""
        for action in actions:
            match action:
                case Publish():
                    self._end.publish(
                        action.muster,
                        m.Decision(
                            shepherd_epoch=self._shepherd_epoch,
                            seq=action.seq,
                            issued_s=self._now(),
                            ttl_s=DECISION_TTL_S,
                            settings=action.settings,
                        ),
                    )
                case Lost():
                    self._tell(DecisionLost(action.muster, action.seq))
                case GaveUp():
                    waiting = self._roster.sessions[action.muster].deciding.pop(action.seq, None)
                    if waiting is not None:
                        text = f"muster {action.muster} did not answer decision {action.seq} in {action.tries} tries"
                        told = ", ".join(map(str, self._decisions.story(action.muster)))
                        log.warning("%s; what happened to it, by this clock: %s", text, told)
                        reject(waiting[0], HerdError(Reason.NO_ANSWER, text))

    def resend(self, name: str, muster: MusterSession, now: float) -> None:
        """Send again what a muster has not acknowledged in time."""
        for numbered in muster.link.due(now):
            self._transmit(name, muster, numbered.seq, numbered.body)

    def _sent(self, name: str, order: m.Order, future: Future[Any]) -> MusterSession | None:
        """Send an order, and give the muster that it goes to; if it can't be sent, fail the future and give None."""
        try:
            muster = self._roster.present(name)
            numbered = muster.link.send(order, self._now())
        except HerdError as error:
            reject(future, error)
            return None
        except LinkFullError as error:
            reject(future, HerdError(Reason.LINK_FULL, f"muster {name}: {error}"))
            return None
        self._roster.to_send(name, muster)
        self._transmit(name, muster, numbered.seq, numbered.body)
        return muster

    def _transmit(self, name: str, muster: MusterSession, seq: int, order: m.Order) -> None:
        self._end.send_pulse(
            name,
            m.Frame(
                muster_epoch=muster.hello.muster_epoch,
                shepherd_epoch=self._shepherd_epoch,
                seq=seq,
                ack=muster.link.ack,
                body=codec.raw(order),
            ),
        )


def _said(setting: Setting) -> str:
    return f"{setting.knob}@{setting.sheep} {setting.value}"
