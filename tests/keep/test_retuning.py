"""When a re-tuning begins, and when it is over: what saves nothing isn't tried again, and every group has its turn."""

from collections.abc import Sequence

from mustherd.keep.beliefs import Beliefs
from mustherd.keep.book import Book, Candidate, Choice
from mustherd.keep.guard import LimitWatch
from mustherd.keep.node_state import NodeState
from mustherd.keep.options import Options
from mustherd.keep.retune import STALE_BLOCKS
from mustherd.keep.retuning import AGAIN_BLOCKS, GATHER_BLOCKS, Retuning

OPTIONS = Options(limit=200.0)
LOAD = 1000.0
NAMES = ("a", "b", "c", "d", "e")


def herd(powers: Sequence[float | None]) -> tuple[Retuning, dict[str, NodeState], list[Choice]]:
    """Five nodes at clock 0 of a book that foretells each clock's power."""
    book = Book({LOAD: [Candidate(settings={"clock": n}, power=power) for n, power in enumerate(powers)]})
    choices = sorted(book.choices(LOAD, OPTIONS.limit), key=lambda choice: choice.settings["clock"])
    nodes = {}
    for name in NAMES:
        node = nodes[name] = NodeState(name, LimitWatch(OPTIONS), target=choices[0])
        while not node.estimator.load:
            node.estimator.add(LOAD)
    return Retuning(OPTIONS, book, Beliefs(OPTIONS, book.values())), nodes, choices


def begun(
    powers: Sequence[float | None], drifted: Sequence[tuple[int, str]], blocks: int
) -> tuple[list[str], list[str]]:
    """Whom each re-tuning was begun with, and what was told, where the load leaves nothing to compare."""
    retuning, nodes, choices = herd(powers)
    groups, told = [], []
    for number in range(blocks):
        for at, name in drifted:
            if at == number:
                retuning.drifted(name, number)
        for _, kind, text in retuning.step(number, nodes, lambda _: choices):
            told.append(text)
            if kind == "canary" and retuning.under_way is not None:
                groups.append(", ".join(retuning.under_way.group))
    return groups, told


def test_where_no_power_is_foretold_candidates_are_tried_once() -> None:
    groups, told = begun([None, 10.0, 11.0], [(0, "a")], 20 * STALE_BLOCKS)
    assert groups == ["a"], "the same candidates are tried all day"
    assert told[0].startswith("a try")


def test_where_power_is_foretold_it_goes_on_while_something_may_save() -> None:
    groups, _ = begun([10.0, 10.1, 10.2], [(0, "a")], 4 * STALE_BLOCKS)
    assert len(groups) > 1


def test_each_group_that_drifted_has_its_turn() -> None:
    apart = GATHER_BLOCKS + AGAIN_BLOCKS + STALE_BLOCKS
    groups, _ = begun([10.0, 10.1, 10.2], [(0, "a"), (apart, "b"), (2 * apart, "c")], 20 * STALE_BLOCKS)
    later = groups[-9:]
    assert sorted(later) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert all(len(set(later[i : i + 3])) == 3 for i in range(7))
