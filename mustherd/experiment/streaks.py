"""When trials go wrong so often in a row that going on is no use. Pure."""

from dataclasses import dataclass, field

from mustherd.trial import Trial, TrialState

FRUITLESS = 3
"""How many times as many attempts in a row may come to nothing for changing reasons as for the same one."""


@dataclass
class _Streak:
    """The same bad end, again and again."""

    reason: str = ""
    count: int = 0

    def seen(self, reason: str) -> int:
        """Count an end; another reason starts over."""
        self.count = self.count + 1 if reason == self.reason else 1
        self.reason = reason
        return self.count


@dataclass(frozen=True)
class Hopeless:
    """Why an experiment can't go on."""

    text: str
    reason: str
    count: int


@dataclass
class Streaks:
    """Bad ends since the last trial that finished, which ends every streak."""

    same_failure: int
    """Trials in a row that may fail for the same reason, less one."""
    same_invalid: int
    """Attempts in a row that may be invalid for the same reason, less one. An environment that spoils every attempt
    must not loop, even where single attempts are worth repeating."""
    _failures: _Streak = field(default_factory=_Streak)
    _invalids: _Streak = field(default_factory=_Streak)
    _fruitless: int = 0

    def ended(self, trial: Trial) -> Hopeless | None:
        """Count the end of an attempt; why to give up, where it is time to."""
        if trial.state is TrialState.FINISHED:
            self._failures, self._invalids, self._fruitless = _Streak(), _Streak(), 0
            return None
        self._fruitless += 1
        reason, detail = trial.reason, trial.detail
        if trial.state is TrialState.FAILED:
            count = self._failures.seen(reason)
            if count >= self.same_failure:
                return Hopeless(f"{count} trials in a row failed with {reason}: {detail}", reason, count)
        else:
            count = self._invalids.seen(reason)
            if count >= self.same_invalid:
                return Hopeless(f"{count} attempts in a row were invalid with {reason}: {detail}", reason, count)
        if self._fruitless >= FRUITLESS * self.same_invalid:
            text = f"{self._fruitless} attempts in a row came to nothing, the last with {reason}: {detail}"
            return Hopeless(text, reason, self._fruitless)
        return None
