"""Who is due when, so that nobody looks at all of a large herd for the few that have something to do."""

import heapq

NEVER = float("inf")


class Alarms:
    """One time for each name. Whoever's has come is told of once, and from then on has none until it is set anew."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        """Also holds times that an earlier one has taken the place of: they are passed over."""

    def set(self, name: str, at: float) -> None:
        """`name` is due at `at`, or before if it is so already."""
        if at < self._at.get(name, NEVER):
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def at(self, name: str) -> float:
        """When `name` is due."""
        return self._at.get(name, NEVER)

    def due(self, now: float) -> list[str]:
        """Whose time has come, the earliest first."""
        names = []
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._at.get(name) == at:
                del self._at[name]
                names.append(name)
        return names

    def next(self) -> float:
        """When somebody is due next, or a little before."""
        return self._heap[0][0] if self._heap else NEVER
