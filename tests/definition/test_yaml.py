import pytest

from mustherd.definition.errors import DefinitionError, Finding
from mustherd.definition.yaml import MAX_BYTES, MAX_DEPTH, Hex, Source, Spot, decode, parse, resolve


def error_of(text: str) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        parse(text, "f.yml")
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("600_000", 600000),
        ("2.6", 2.6),
        ("1e6", 1e6),
        (".5", 0.5),
        ("true", True),
        ("~", None),
        ("", None),
        ("off", "off"),
        ("yes", "yes"),
        ("014", "014"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("9" * 41, "9" * 41),
        ("0x", "0x"),
    ],
)
def test_plain_words_follow_the_core_schema(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_hex_stays_recognisable() -> None:
    found = resolve("0x1a00")
    assert isinstance(found, Hex)
    assert found == 6656


def test_values_and_lists_become_plain() -> None:
    assert parse("a: [1, '2', {b: null}]", "f.yml").plain() == {"a": (1, "2", {"b": None})}


def test_an_alias_stands_for_what_it_names() -> None:
    assert parse("a: &x [1, 2]\nb: *x", "f.yml").plain() == {"a": (1, 2), "b": (1, 2)}


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "'a' is there twice, first on line 1"),
        ("a: 1\nb:\n\t- c\n", 3, 1, "tab"),
        ("a: b: c\n", 1, 5, "':' is not expected"),
        ("a: [1, 2\n", 1, 4, "the list that begins here"),
        ("a: &x [*x]", 1, 8, "contains itself"),
        ("a: *nobody", 1, 4, "stands for nothing"),
        ("--- 1\n--- 2\n", 2, 1, "second document"),
        ("a: !!python/object/apply:os.system [ls]", 1, 4, "tag"),
        ("a: !!str 1", 1, 4, "tag"),
        ("? [a, b]\n: c", 1, 3, "a key is a word"),
        ("a: &x b\n*x : c", 2, 1, "a key is written out"),
        ("", 1, 1, "empty"),
        ("# nothing\n", 1, 1, "empty"),
        ("a: \x07", 1, 4, "U+0007"),
        ("a: 1\nb: \ud800", 2, 4, "U+D800"),
        ('a: "\\ud800"', 1, 4, "surrogate"),
        ("a: 1\nb: " + "[" * (MAX_DEPTH + 1), 2, 3 + MAX_DEPTH, "nested too deeply"),
        ("a: " + "x" * 5000, 1, 4, "too long"),
    ],
)
def test_an_error_says_where(text: str, line: int, column: int, said: str) -> None:
    error = error_of(text)
    assert (error.line, error.column) == (line, column)
    assert said in str(error)
    assert str(error).startswith(f"f.yml:{line}: ")


@pytest.mark.parametrize("text", ['"\\U00110000"', "%YAML 1." + "9" * 5000 + "\n--- a"])
def test_what_yaml_itself_stumbles_over_is_an_error_too(text: str) -> None:
    assert "out of range" in str(error_of(text))


def test_a_billion_laughs_are_not_laughed() -> None:
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "too many values" in str(error_of(bomb))


def test_aliases_cannot_nest_beyond_the_bound() -> None:
    text = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [[[*a{i - 1}]]]\n" for i in range(1, 20))
    assert "nested too deeply" in str(error_of(text))


def test_a_large_file_is_refused() -> None:
    assert "too large" in str(error_of("#" * (MAX_BYTES + 1)))
    with pytest.raises(DefinitionError, match="too large"):
        decode(b"#" * (MAX_BYTES + 1), "f.yml")


def test_bytes_that_are_no_text_have_a_place() -> None:
    with pytest.raises(DefinitionError, match="0xff") as caught:
        decode(b"a: 1\nb: \xff", "f.yml")
    assert (caught.value.line, caught.value.column) == (2, 4)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decode(b"\xef\xbb\xbfa: 1", "f.yml") == "a: 1"


class TestSource:
    text = "a: 1\nb:\n  - x\n  - {c: 2}\n"

    def found(self, *path: str | int, at_key: bool = False) -> tuple[Spot, str, str]:
        error = Source("f.yml", parse(self.text, "f.yml")).error([Finding(path, "bad", at_key=at_key)])
        return Spot(error.line, error.column), error.key, error.value

    def test_places_of_values_and_keys(self) -> None:
        assert self.found("a") == ((1, 4), "a", "1")
        assert self.found("a", at_key=True) == ((1, 1), "a", "1")
        assert self.found("b", 0) == ((3, 5), "b[0]", "x")
        assert self.found("b", 1, "c") == ((4, 9), "b[1].c", "2")

    def test_what_is_not_there_is_placed_where_it_would_be(self) -> None:
        assert self.found("z") == ((1, 1), "z", "")
        assert self.found("b", 1, "z") == ((4, 5), "b[1].z", "")
        assert self.found("a", "z") == ((1, 1), "a.z", "")

    def test_all_are_said_in_file_order(self) -> None:
        source = Source("f.yml", parse(self.text, "f.yml"))
        error = source.error([Finding(("b", 0), "later"), Finding(("a",), "first"), Finding(("b", 1), "last")])
        assert str(error) == "f.yml:1: a: first\nf.yml:3: b[0]: later\nf.yml:4: b[1]: last"

    def test_without_a_file_there_is_no_line(self) -> None:
        assert (
            str(Source().error([Finding(("a",), "bad", "good", "god")])) == "a: bad; allowed: good; did you mean 'god'?"
        )
