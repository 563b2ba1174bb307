"""Bytes and text that are nearly what somebody wrote."""

import random
from collections.abc import Sequence

NUMBERS = [
    "nan",
    ".inf",
    "-.inf",
    "inf",
    "1e400",
    "-1e400",
    "1e308",
    "1e-400",
    "-0",
    "0x",
    "0x1a00",
    "1_0",
    "-1",
    "0",
    "1",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "00",
    "+1",
    "1.",
    ".5",
    "~",
    "null",
    "true",
    "1,5",
    "1e5",
]
WORDS = (
    "../../etc/passwd", "{{ 7 * 7 }}", "{% raw %}", "'; DROP TABLE trial; --", "<script>", "$(id)", "`id`", "%s%n",
    "!!python/object/apply:os.system ['id']", "&a", "*a", "<<: *a", "é" * 50, "9" * 400, "x" * 5000, "\0", "\u2028",
    "\x85", "\x1b[2J", "\ufeff", "\ud7ff", "%YAML 1.2\n", "---\n", "...\n", "\r\n", "\t", "\\", '"', "'", "#", ": ",
    "- ", "? ", "|", "[", "]", "{", "}", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "&a;", "<![CDATA[", "]]>",
)  # fmt: skip
DEEP = (b"[" * 50_000, b"{" * 50_000, b"\x91" * 50_000 + b"\xc0", b"\x81\xa1a" * 50_000 + b"\xc0", b"<a>" * 50_000)


def of_bytes(r: random.Random, whole: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`whole` with bits turned, parts cut, doubled, moved or put in; now and then something else altogether.

    `others` are wholes of the same kind, of which a part may come in.
    """
    data = bytearray(whole)
    for _ in range(r.choice((1, 1, 1, 2, 4, 16))):
        at = r.randrange(len(data) + 1)
        length = r.choice((1, 1, 2, 4, 8, r.randrange(1, 200)))
        match r.randrange(10):
            case 0 | 1 | 2 if data:
                data[at % len(data)] = r.getrandbits(8)
            case 3 if data:
                data[at % len(data)] ^= 1 << r.randrange(8)
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = r.randbytes(length)
            case 6:
                data[at:at] = data[at : at + length] * r.choice((1, 2, 30))
            case 7:
                del data[at:]
            case 8 if others:
                other = r.choice(others)
                begin = r.randrange(len(other) + 1)
                data[at : at + length] = other[begin : begin + length]
            case _:
                data[at : at + length] = bytes(length)
    if r.random() < 0.001:
        return r.choice(DEEP)
    return bytes(data)


def of_text(r: random.Random, whole: str, words: Sequence[str] = ()) -> str:
    """A text with lines, words and numbers changed for others; `words` are some that mean something there."""
    text = whole
    for _ in range(r.choice((1, 1, 2, 4))):
        lines = text.splitlines(keepends=True) or [""]
        number = r.randrange(len(lines))
        at = r.randrange(len(text) + 1)
        word = r.choice((*NUMBERS, *WORDS, *words))
        match r.randrange(8):
            case 0:
                parts = lines[number].split(" ")
                parts[r.randrange(len(parts))] = word
                lines[number] = " ".join(parts)
                text = "".join(lines)
            case 1:
                del lines[number]
                text = "".join(lines)
            case 2:
                lines.insert(number, r.choice(lines))
                text = "".join(lines)
            case 3:
                r.shuffle(lines)
                text = "".join(lines)
            case 4:
                text = text[:at]
            case 5:
                text = text[:at] + text[at + r.choice((1, 1, 2, 20)) :]
            case _:
                text = text[:at] + word + text[at + r.choice((0, 1, 5)) :]
    if r.random() < 0.001:
        return r.choice(DEEP).decode("latin-1")
    return text
