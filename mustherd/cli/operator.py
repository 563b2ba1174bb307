"""The options by which a command finds a running shepherd."""

from pathlib import Path
from typing import Annotated

import typer

LOCAL = "127.0.0.1"

Shepherd = Annotated[str, typer.Option(help="Where the shepherd listens for operators: HOST or HOST:PORT.")]
Keys = Annotated[Path | None, typer.Option(help="Key folder; needed beyond loopback. The operator's key is used.")]
