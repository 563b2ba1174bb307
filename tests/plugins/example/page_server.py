"""An example of a server in a package of its own; docs/extend/load.md shows it."""

import platform
import sys
from dataclasses import dataclass
from typing import ClassVar

from mustherd.load.server import Preset, ServerProcess


class PageServer(ServerProcess):
    """Python's own web server, which answers with a list of files."""

    @dataclass(frozen=True)
    class Options:
        port: int = 0
        cores: tuple[int, ...] = ()
        folder: str = "/usr/lib"

    presets: ClassVar = {"list": Preset(meaning="the folder's list, again and again")}
    load: ClassVar = "pages"  # what loads it where a definition names nothing

    def __init__(self, options: Options) -> None:
        super().__init__("page server", port=options.port, cores=options.cores)
        self._folder = options.folder

    def argv(self) -> list[str]:
        host, port = self.address.host, str(self.address.port)
        return [sys.executable, "-m", "http.server", "--bind", host, "--directory", self._folder, port]

    @property
    def version(self) -> str:
        return f"http.server of Python {platform.python_version()}"
