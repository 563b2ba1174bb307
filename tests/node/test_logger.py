from mustherd.node.logger import Rows


def test_rows_are_as_many_as_a_column_is_long() -> None:
    assert len(Rows(first=7, columns={"a": (1.0, 2.0), "b": (3.0, 4.0)})) == 2
    assert len(Rows(first=7, columns={"a": ()})) == 0
    assert len(Rows(first=7, columns={})) == 0
