"""The space: the points that a search may propose, by number, and where they lie for a model."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from mustherd.learn.base import Dimension, SearchSpace, Settings

ASIDE = 0.3
"""How far a category lies beside the nearest ordered value, in the unit of a whole range: nearer than the range's ends
are to each other, since adaptive moderation does behave like delays of 2..20 us, but apart. From 0.3 to 0.5 it makes
no difference that shows in trials."""


class Axis:
    """The values of one dimension, ascending, and their coordinates.

    The coordinates of a value are one number in 0..1 along the dimension's scale and one for each category: 0, or its
    distance. A category has no order towards the other values; the number along the scale is then that of the nearest
    ordered value, so that a model that finds the category to behave like its neighbours may use them, and one that
    doesn't has the other number to tell it apart. Without ordered values categories are 1 apart.
    (Off and adaptive, 0 and 1 beside delays of 2 us and more, do behave like short ones.)
    """

    def __init__(self, dimension: Dimension, knee: float = 0.0) -> None:
        """The axis of a dimension; ValueError says what is wrong with it.

        On a log scale values far below `knee` (in the dimension's unit) lie close together: log(value + knee).
        """
        name = dimension.name
        if dimension.scale not in ("linear", "log"):
            raise ValueError(f"{name}: scale {dimension.scale!r} is not linear or log")
        if dimension.values:
            ordered: Sequence[int] = sorted(set(dimension.values) - set(dimension.categories))
        elif dimension.step < 1:
            raise ValueError(f"{name}: step {dimension.step} is less than 1")
        else:
            ordered = [
                v for v in range(dimension.low, dimension.high + 1, dimension.step) if v not in dimension.categories
            ]
        self.name = name
        self.ordered: tuple[int, ...] = tuple(ordered)
        self.categories: tuple[int, ...] = tuple(sorted(set(dimension.categories)))
        self.values: tuple[int, ...] = tuple(sorted((*self.ordered, *self.categories)))
        if not self.values:
            raise ValueError(f"{name}: no values")
        self._log = dimension.scale == "log"
        self._knee = knee
        if self._log and self.ordered and self.ordered[0] < 0:
            raise ValueError(f"{name}: {self.ordered[0]} has no place on a log scale")
        ends = self.ordered or (0,)
        self._low, self._high = self._scaled(ends[0]), self._scaled(ends[-1])
        self.width = int(len(self.ordered) > 1) + len(self.categories)

    def _scaled(self, value: float) -> float:
        # 0 on a log scale without a knee is an option such as "off"; it lies with 1.
        return math.log(max(1.0, value + self._knee)) if self._log else float(value)

    def position(self, value: int) -> int:
        """The value's place in `values`; ValueError if it has none."""
        place = bisect_left(self.values, value)
        if place == len(self.values) or self.values[place] != value:
            raise ValueError(f"{self.name}={value} is not in the space; {self._around(place)}")
        return place

    def _around(self, place: int) -> str:
        near = self.values[max(0, place - 1) : place + 1]
        return f"the nearest values are {', '.join(map(str, near))}"

    def nearest(self, value: float) -> int:
        """The ordered value nearest to `value` along the scale; without ordered values the first category."""
        if not self.ordered:
            return self.categories[0]
        place = bisect_left(self.ordered, value)
        near = self.ordered[max(0, place - 1) : place + 1]
        return min(near, key=lambda v: abs(self._scaled(v) - self._scaled(value)))

    def encode(self, value: int) -> tuple[float, ...]:
        """The value's coordinates: `width` numbers in 0..1."""
        distance = ASIDE if len(self.ordered) > 1 else 1.0
        one_hot = tuple(distance * (value == c) for c in self.categories)
        if len(self.ordered) < 2:
            return one_hot
        kept = min(max(value, self.ordered[0]), self.ordered[-1])
        return ((self._scaled(kept) - self._low) / (self._high - self._low), *one_hot)


class Space:
    """Every combination of the dimensions' values, or those given; point `i` of `size`, the last dimension varying
    fastest."""

    @classmethod
    def of(cls, space: SearchSpace, knees: Mapping[str, float] | None = None) -> "Space":
        """The points of a problem's space; `knees` and errors as below."""
        return cls(space.dimensions, knees, space.points)

    def __init__(
        self,
        dimensions: Sequence[Dimension],
        knees: Mapping[str, float] | None = None,
        points: Sequence[Settings] = (),
    ) -> None:
        """A space; `knees` by dimension as in Axis, `points` as in SearchSpace.

        ValueError: no dimensions, a name used twice, no values, a point beyond them.
        """
        if not dimensions:
            raise ValueError("a space needs at least one dimension")
        self.axes = tuple(Axis(d, (knees or {}).get(d.name, 0.0)) for d in dimensions)
        names = [a.name for a in self.axes]
        if len(set(names)) != len(names):
            raise ValueError(f"a dimension's name is used twice: {', '.join(names)}")
        self.size = math.prod(len(a.values) for a in self.axes)
        # A space of one setting has a place too: models that need a coordinate get one that says nothing.
        self.width = sum(a.width for a in self.axes) or 1
        self._cells: tuple[int, ...] = tuple(sorted({self._cell(point) for point in points}))
        """The combinations that there are, by their numbers among all; none: all."""
        self._numbers = {cell: number for number, cell in enumerate(self._cells)}
        if self._cells:
            self.size = len(self._cells)

    def index(self, point: Settings) -> int:
        """The point's number; ValueError says what places it outside the space."""
        cell = self._cell(point)
        if not self._cells:
            return cell
        if cell not in self._numbers:
            raise ValueError(f"{point} is not one of the {self.size} points of the space")
        return self._numbers[cell]

    def _cell(self, point: Settings) -> int:
        """The number of a combination among all."""
        unknown = sorted(set(point) - {a.name for a in self.axes})
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is no dimension of the space")
        number = 0
        for axis in self.axes:
            if axis.name not in point:
                raise ValueError(f"the point has no {axis.name}")
            number = number * len(axis.values) + axis.position(point[axis.name])
        return number

    def point(self, index: int) -> Settings:
        """The point with that number; IndexError beyond the space."""
        if not 0 <= index < self.size:
            raise IndexError(index)
        index = self._cells[index] if self._cells else index
        values = []
        for axis in reversed(self.axes):
            index, place = divmod(index, len(axis.values))
            values.append(axis.values[place])
        return {axis.name: value for axis, value in zip(self.axes, reversed(values), strict=True)}

    def __iter__(self) -> Iterator[Settings]:
        return (self.point(i) for i in range(self.size))

    def encode(self, point: Settings) -> tuple[float, ...]:
        """The point's coordinates, `width` numbers in 0..1."""
        return tuple(x for axis in self.axes for x in axis.encode(point[axis.name])) or (0.0,)

    def nearest(self, point: dict[str, float]) -> Settings:
        """The point of the space nearest to values that need not lie in it; categories are taken only if named."""
        near = {
            a.name: int(point[a.name]) if point[a.name] in a.categories else a.nearest(point[a.name]) for a in self.axes
        }
        if not self._cells or self._cell(near) in self._numbers:
            return near
        here = self.encode(near)
        return min(self, key=lambda there: math.dist(here, self.encode(there)))

    def steps(self, point: Settings, reach: int = 1) -> list[Settings]:
        """The points that differ in one dimension, by `reach` places or by being a category."""
        found = []
        for axis in self.axes:
            here = axis.position(point[axis.name])
            near = {axis.values[i] for i in (here - reach, here + reach) if 0 <= i < len(axis.values)}
            found += [{**point, axis.name: v} for v in sorted({*near, *axis.categories} - {point[axis.name]})]
        return [there for there in found if self._cell(there) in self._numbers] if self._cells else found
