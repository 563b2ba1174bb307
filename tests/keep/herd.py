"""A keeper and nodes that do at once what it decides, at one load and latency each."""

from collections.abc import Iterator, Mapping, Sequence

from mustherd.keep import events as e
from mustherd.keep.book import Book, Candidate
from mustherd.keep.keeper import Keeper
from mustherd.keep.options import Options

SAFE = {"clock": 9}
LOW, HIGH = {"clock": 1}, {"clock": 5}
BOOK = {
    1000.0: [Candidate(settings=LOW, power=10, latency=100), Candidate(settings=HIGH, power=20, latency=80)],
    2000.0: [Candidate(settings=LOW, power=12, latency=900), Candidate(settings=HIGH, power=22, latency=90)],
}
OPTIONS = Options(limit=200.0, safe=SAFE, baseline=SAFE, controls=0.0, settle_s=2.0, first_settle_s=2.0, age_s=3.0)


class Herd:
    """Its time goes on in frames of a second."""

    def __init__(
        self,
        names: Sequence[str] = ("a",),
        options: Options = OPTIONS,
        book: Mapping[float, Sequence[Candidate]] = BOOK,
        now: float = 0.0,
    ) -> None:
        self.keeper = Keeper(options, Book(book))
        self.now = now
        self.load = dict.fromkeys(names, 900.0)
        self.latency = dict.fromkeys(names, 100.0)
        self.power = dict.fromkeys(names, 10.0)
        self.settings: dict[str, dict[str, int]] = {name: {} for name in names}
        self.stories: list[str] = []
        self.answers = True
        for name in names:
            self.act(self.keeper.handle(e.Joined(node=name), self.now))

    def act(self, actions: Sequence[e.Action]) -> None:
        for action in actions:
            if isinstance(action, e.Decide):
                self.settings[action.node] = dict(action.settings)
                if self.answers:
                    answer = e.Answered(node=action.node, number=action.number, held=True)
                    self.act(self.keeper.handle(answer, self.now))
            elif isinstance(action, e.Story):
                self.stories.append(f"{action.kind} {action.text}")

    def frames(self, count: int = 1, without: Sequence[str] = ()) -> Iterator[dict[str, dict[str, int]]]:
        for _ in range(count):
            self.now += 1.0
            for name in self.load:
                reading = e.Reading(
                    node=name,
                    at_s=self.now,
                    load=None if "load" in without else self.load[name],
                    latency=None if "latency" in without else self.latency[name],
                    power=self.power[name],
                )
                self.act(self.keeper.handle(reading, self.now))
            self.act(self.keeper.tick(self.now))
            yield {name: dict(found) for name, found in self.settings.items()}

    def run(self, count: int, without: Sequence[str] = ()) -> list[dict[str, dict[str, int]]]:
        return list(self.frames(count, without))
