"""The server `command`: any program, started by a list of arguments, watched until it is ready, and ended."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec

from mustherd.load.command import words
from mustherd.load.error import LoadError
from mustherd.load.server import Preset, ServerProcess
from mustherd.node.server import tree
from mustherd.plugins import OptionError
from mustherd.programs import ProgramError, printed
from mustherd.reasons import Reason

Argument: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]
Command: TypeAlias = tuple[Argument, ...]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=3600)]

WORDS = ("host", "port", "folder", "threads")
"""What may stand in braces in the server's commands and files."""
FILE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
SIGNALS = ("TERM", "INT", "QUIT", "KILL")
ANSWER_S = 5.0
"""For a command that asks whether the server is ready."""


class Within(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a server may take to be ready."""

    seconds: Seconds = 60.0
    """So long, and each command that prepares it, too."""


class Ready(Within, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the server is ready, beside taking connections: all that is given must be so."""

    text: str = ""
    """A pattern in what it printed."""
    command: Command = ()
    """A command that ends with 0."""


class ServerCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is run. In commands and files {host}, {port}, {threads} and {folder}, a new folder of its own, stand
    for what the run knows.
    """

    command: Command
    ready: Ready = Ready()
    prepare: tuple[Command, ...] = ()
    """Commands that run before it, one after the other, such as one that makes a database."""
    populate: tuple[Command, ...] = ()
    """Commands that run once it is ready."""
    files: dict[str, str] = {}
    """Files in its folder: name to text."""
    environment: dict[str, str] = {}
    user: str = ""
    """Who it becomes, and its commands with it, when it is started by root; '': nobody else."""
    stop: str = "TERM"
    """The signal that ends it and what it started, also where whoever started it is killed."""
    stop_seconds: Seconds = 5.0
    """How long that may take before it is killed."""
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """0: any free one."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 4
    """What {threads} stands for."""
    cores: tuple[Annotated[int, msgspec.Meta(ge=0, le=4095)], ...] = ()
    log: str = ""
    """The file that keeps what it prints; '': it is kept while the server lives."""


class ProgramServer(ServerProcess):
    """Any program with all the processes that it starts."""

    presets: ClassVar[Mapping[str, Preset]] = {}
    load: ClassVar[str] = ""
    Options: ClassVar[type]

    @staticmethod
    def run_by(options: Any) -> ServerCommand | None:  # noqa: ARG004
        """How one of these Options is run; None where nobody says before it is made."""
        return None

    @classmethod
    def starts_within_s(cls, options: Mapping[str, object]) -> float:
        """How long it may take until it is populated, by options as a definition writes them."""
        told = cls.run_by(msgspec.convert(options, cls.Options))
        return 0.0 if told is None else told.ready.seconds * (1 + len(told.prepare) + len(told.populate))

    def __init__(self, options: ServerCommand) -> None:
        super().__init__(
            Path(options.command[0]).name,
            options.host,
            options.port,
            cores=options.cores,
            user=options.user if os.geteuid() == 0 else "",
            log=options.log,
            start_s=options.ready.seconds,
        )
        self._options = options
        self._folder: Path | None = None
        self._prepared = False
        self._version = ""
        self._missing = ""

    @property
    def end_signal(self) -> str:
        return self._options.stop

    @property
    def program(self) -> str:
        return self._options.command[0]

    @property
    def folder(self) -> Path:
        """Its folder, made when it is first asked for. LoadError."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="mustherd-server-"))
            self._give(self._folder)
        return self._folder

    def argv(self) -> list[str]:
        return self._filled(self._options.command)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder), **self._options.environment}

    @property
    def version(self) -> str:
        """What its program says of its version: the first line under --version or -v that holds a number."""
        for ask in ("--version", "-v"):
            if self._version:
                break
            with contextlib.suppress(ProgramError):
                lines = printed([self.program, ask], ANSWER_S, errors_too=True).splitlines()
                self._version = next((line.strip()[:200] for line in lines if any(map(str.isdigit, line))), "")
        return self._version or Path(self.program).name

    def start(self) -> None:
        """Prepare it, start it, wait until it is ready, and populate it. LoadError; harmless when it runs."""
        if self.pid is not None:
            return
        super().start()
        try:
            for command in self._options.populate:
                self._do(command, "populate")
        except BaseException:
            self.stop()
            raise

    def before(self) -> None:
        for name, text in self._options.files.items():
            file = self.folder / name
            file.write_text(self._filled([text])[0], encoding="utf-8")
            self._give(file)
        if not self._prepared:
            for command in self._options.prepare:
                self._do(command, "prepare")
            self._prepared = True

    def answers(self) -> bool:
        """Whether it has printed what it should, takes connections, and its command says so."""
        ready = self._options.ready
        self._missing = ""
        if ready.text and not re.search(ready.text, self.printed(), re.MULTILINE):
            self._missing = f"ready.text {ready.text!r} is not in what it printed: {self._last_words()}"
        elif not super().answers():
            self._missing = super().missing()
        elif ready.command:
            try:
                self._run_once(ready.command, ANSWER_S, "ready.command")
            except ProgramError as error:
                self._missing = f"ready.command: {error}"
        return not self._missing

    def missing(self) -> str:
        return self._missing

    def is_taken(self) -> bool:
        return super().answers()

    def threads(self) -> tuple[int, ...]:
        """Ids of the threads of all its processes, its own first. LoadError when it doesn't run."""
        return tree.threads(tree.members(super().threads()[0]))

    def stop(self) -> None:
        """End it and all that it started, in order where it can be; harmless when it doesn't run."""
        process, self._process = self._process, None
        if process is None:
            return
        group = process.pid
        # A group of its own takes a process out of the server's: they are known as long as their parent lives.
        started = tree.handles(tree.members(group))
        if process.poll() is None:
            process.send_signal(getattr(signal, f"SIG{self._options.stop}"))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._options.stop_seconds)
        # What is left of its group, itself if need be: its number is nobody else's as long as somebody is in it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        for member in started:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(member, signal.SIGKILL)
            os.close(member)
        process.wait()

    def close(self) -> None:
        super().close()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _filled(self, argv: Sequence[str]) -> list[str]:
        here = (self.address.host, self.address.port, self.folder, self._options.threads)
        return words.filled(argv, dict(zip(WORDS, here, strict=True)))

    def _do(self, command: Command, what: str) -> None:
        """Run a command to its end. LoadError when it fails or takes too long."""
        try:
            self._run_once(command, self._options.ready.seconds, what)
        except ProgramError as error:
            raise LoadError(Reason.SERVER_FAILED, f"{what}: {error}") from None

    def _run_once(self, command: Command, seconds: float, what: str) -> None:
        """LoadError where its program is missing, ProgramError where it fails or takes too long."""
        if shutil.which(command[0]) is None:
            raise LoadError(Reason.TOOL_MISSING, f"{what}: {command[0]} is not installed, or not executable")
        printed(
            self._filled(command),
            seconds,
            environment=self.environment,
            folder=self.folder,
            prefix=self.leash(),
            errors_too=True,
        )

    def _give(self, path: Path) -> None:
        """Let whom the server becomes have a file or folder. LoadError."""
        if self._user:
            try:
                entry = pwd.getpwnam(self._user)
            except KeyError:
                raise LoadError(Reason.SERVER_FAILED, f"{self._name}: there is no user {self._user!r}") from None
            os.chown(path, entry.pw_uid, entry.pw_gid)


class CommandServer(ProgramServer):
    """One that a definition describes."""

    Options = ServerCommand

    @staticmethod
    def run_by(options: ServerCommand) -> ServerCommand:
        return options

    @staticmethod
    def check_options(options: ServerCommand) -> None:
        """Raise OptionError for a command that can't be one."""
        with _refused("command"):
            words.check(options.command, WORDS)
        if options.ready.command:
            with _refused("ready", "command"):
                words.check(options.ready.command, WORDS)
        for name, commands in (("prepare", options.prepare), ("populate", options.populate)):
            for number, command in enumerate(commands):
                with _refused(name, number):
                    words.check(command, WORDS)
        for name, text in options.files.items():
            with _refused("files", name):
                if not FILE.fullmatch(name) or name.startswith("."):
                    raise ValueError(f"{name!r} is no name of a file: letters, digits, '_', '-' and '.'")
                words.check_braces([text])
                words.filled([text], dict.fromkeys(WORDS, ""))
        with _refused("ready", "text"):
            words.pattern(options.ready.text)
        if options.stop not in SIGNALS:
            raise OptionError(f"{options.stop!r} is no such signal", ("stop",), allowed=", ".join(SIGNALS))


@contextlib.contextmanager
def _refused(*path: str | int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise OptionError(str(error), path) from None
