"""The four ports at which a shepherd listens, and how they are written."""

from typing import Annotated

import msgspec

MAX_PORT = 65_535

Port = Annotated[int, msgspec.Meta(ge=0, le=MAX_PORT)]


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shepherd's four ports; where it listens 0 lets the system choose one."""

    pulse: Port = 50051
    log: Port = 50061
    control: Port = 50071
    coordinate: Port = 50081

    @classmethod
    def parse(cls, text: str) -> "Ports":
        """The ports that a text such as `50051,50061,50071,50081` names. ValueError says what is wrong with it."""
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != len(cls.__struct_fields__) or not all(p.isdecimal() and int(p) <= MAX_PORT for p in parts):
            raise ValueError(f"{text!r}: give four ports, 0..{MAX_PORT}, separated by commas")
        return cls(*map(int, parts))

    def __str__(self) -> str:
        """As `parse` reads it."""
        return ",".join(map(str, msgspec.structs.astuple(self)))
