"""What a muster will set a knob to: a range, narrower than what the node allows."""

from typing import Annotated

import msgspec

from mustherd.terms import MAX_VALUE, KnobInfo

KnobValue = Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUE)]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this muster will set a knob to: listed values, and everything from `low` to `high` that the node allows."""

    values: tuple[KnobValue, ...] = ()
    low: KnobValue = 0
    high: Annotated[int, msgspec.Meta(ge=-1, le=MAX_VALUE)] = -1
    modes: bool = False
    """The values that are no amounts, too: the kernel's governors, `adaptive`, `off`."""

    def narrow(self, info: KnobInfo) -> KnobInfo:
        """What is left of a node's knob within this range."""
        own = (v for v in (*self.values, *(info.modes if self.modes else ())) if info.allows(v))
        inside = (v for v in info.values if self.low <= v <= self.high)
        first = max(info.low, info.low + -(-(self.low - info.low) // info.step) * info.step)
        left = msgspec.structs.replace(
            info,
            values=tuple(sorted({*own, *inside})),
            low=first,
            high=min(info.high, self.high),
        )
        if left.default is not None and not left.allows(left.default):
            return msgspec.structs.replace(left, default=None)
        return left

    def beyond(self, info: KnobInfo) -> str:
        """What of this range the knob never allows, in words; "" where it allows all that is named here."""
        top = max((*info.values, *((info.high,) if info.low <= info.high else ())))
        wrong = [v for v in self.values if not info.allows(v)]
        if self.high > top:
            wrong.append(self.high)
        named = bool(self.values) or self.modes or self.low <= self.high
        left = self.narrow(info)
        if not wrong and named and (left.values or left.low <= left.high):
            return ""
        what = f"{wrong[0]} is not allowed" if wrong else "it leaves no value"
        return f"{what}: the knob has {info.allowed_text()}"
