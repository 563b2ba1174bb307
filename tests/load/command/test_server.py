"""A server by command: prepared, started, watched, and ended with all that it started."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from mustherd.load import registry
from mustherd.load.command.server import CommandServer, ServerCommand
from mustherd.load.error import LoadError
from mustherd.load.local_server import node
from mustherd.load.server import ServerKind
from mustherd.plugins import SERVERS, OptionError, plugin
from mustherd.reasons import Reason
from mustherd.testing.load import ServerContract
from tests.load.command.programs import HERE
from tests.typed import some
from tests.waiting import until

pytestmark = pytest.mark.process

SERVE = [*HERE, "serve", "{port}"]


def made(*more: str, **options: Any) -> CommandServer:
    given = {"command": [*SERVE, *more], "stop": "INT", **options}
    return CommandServer(msgspec.convert(given, ServerCommand))


@pytest.fixture
def started() -> Iterator[list[CommandServer]]:
    """Servers that are closed after the test."""
    servers: list[CommandServer] = []
    yield servers
    for server in servers:
        server.close()


class TestCommand(ServerContract):
    @pytest.fixture
    def server(self) -> Iterator[ServerKind]:
        server = made("children=1")
        yield server
        server.close()


def test_it_tells_how_it_was_killed_and_where_its_log_is(started: list[CommandServer], tmp_path: Path) -> None:
    server = made(log=str(tmp_path / "log"))
    started.append(server)
    assert server.ended() == ""
    server.start()
    assert server.ended() == ""
    process = psutil.Process(some(server.pid))
    process.kill()
    until(lambda: server.pid is None)
    name = Path(HERE[0]).name
    assert server.ended().startswith(f"the server {name} was killed by signal 9 (SIGKILL): ")
    assert server.ended().endswith(f"; its log: {tmp_path / 'log'}")
    # One that was stopped, be it to be started anew, has not ended by itself.
    server.stop()
    assert server.ended() == ""


def test_what_it_needs_is_there_before_it_and_what_it_holds_after(started: list[CommandServer], tmp_path: Path) -> None:
    note = ["sh", "-c", 'echo "$1" >> "$2"', "-"]
    server = made(
        "told={folder}/conf",
        files={"conf": "port={port} {{kept}}"},
        prepare=[[*note, "prepared", str(tmp_path / "notes")], ["test", "-s", "{folder}/conf"]],
        populate=[[*note, "populated at {port}", str(tmp_path / "notes")]],
        ready={"text": "^ready, told .+conf$", "command": ["test", "-d", "{folder}"]},
        log=str(tmp_path / "server.log"),
    )
    started.append(server)
    server.start()
    assert (tmp_path / "notes").read_text() == f"prepared\npopulated at {server.address.port}\n"
    assert (server.folder / "conf").read_text() == f"port={server.address.port} {{kept}}"
    server.stop()
    server.start()
    assert (tmp_path / "notes").read_text().splitlines().count("prepared") == 1, "its folder is as it was"
    folder = server.folder
    server.close()
    assert not folder.exists()
    assert (tmp_path / "server.log").read_text().count("ready, told") == 2, "what it printed is kept"


@pytest.mark.parametrize(
    ("options", "reason", "said"),
    [
        ({"command": ["no-such-program"]}, Reason.TOOL_MISSING, "no-such-program is not installed"),
        ({"command": ["sh", "-c", "echo no licence; exit 7"]}, Reason.SERVER_FAILED,
         "ended with 7 at its start: no licence"),
        ({"command": ["sh", "-c", "echo Traceback:; echo no licence; echo bye; exit 1"]}, Reason.SERVER_FAILED,
         "ended with 1 at its start: Traceback: / no licence / bye"),
        ({"prepare": [["sh", "-c", "echo full; exit 2"]]}, Reason.SERVER_FAILED, "prepare: sh ended with 2: full"),
        ({"populate": [["false"]]}, Reason.SERVER_FAILED, "populate: false ended with 1"),
        ({"prepare": [["no-such-tool"]]}, Reason.TOOL_MISSING, "prepare: no-such-tool is not installed"),
        ({"ready": {"text": "never", "seconds": 0.5}}, Reason.SERVER_FAILED,
         "is not ready after 0.5 s: ready.text 'never' is not in what it printed: ready, told"),
        ({"ready": {"command": ["sh", "-c", "echo no table; exit 4"], "seconds": 0.5}}, Reason.SERVER_FAILED,
         "is not ready after 0.5 s: ready.command: sh ended with 4: no table"),
        ({"ready": {"command": ["no-such-tool"]}}, Reason.TOOL_MISSING,
         "ready.command: no-such-tool is not installed"),
        ({"command": ["sleep", "60"], "ready": {"seconds": 0.3}}, Reason.SERVER_FAILED,
         "nothing listens at 127.0.0.1:"),
        ({"host": "192.0.2.1"}, Reason.SERVER_FAILED, "can't listen on 192.0.2.1"),
    ],
)  # fmt: skip
def test_one_that_does_not_come_up_says_why(
    started: list[CommandServer], options: dict[str, Any], reason: Reason, said: str
) -> None:
    server = made(**options)
    started.append(server)
    with pytest.raises(LoadError) as caught:
        server.start()
    assert (caught.value.reason, said in caught.value.message) == (reason, True), caught.value.message
    assert "\n" not in caught.value.message, "a muster's last line is the whole of why it did not begin"
    assert server.pid is None, "what did not come up is not left behind"


@pytest.mark.parametrize("more", [(), ("deaf=1",)])
def test_it_ends_with_its_children_in_order_or_by_force(
    started: list[CommandServer], tmp_path: Path, more: tuple[str, ...]
) -> None:
    server = made("children=2", f"marks={tmp_path / 'left'}", *more, stop_seconds=0.3 if more else 10)
    started.append(server)
    server.start()
    parent = psutil.Process(server.pid)
    tree = [parent, *parent.children()]
    assert len(tree) == 3
    assert len(server.threads()) >= 3
    server.stop()
    assert not parent.is_running()
    until(lambda: not [process for process in tree if lives(process)])
    assert (tmp_path / "left").exists() == (not more)


def test_what_it_put_into_a_session_of_its_own_ends_as_well(started: list[CommandServer]) -> None:
    server = made("apart=1")
    started.append(server)
    server.start()
    apart = psutil.Process(server.pid).children()[0]
    assert os.getpgid(apart.pid) != server.pid
    server.stop()
    until(lambda: not lives(apart))


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_it_ends_with_whoever_started_it_however_that_ends(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(
        "import sys, time, msgspec\n"
        "from mustherd.load.command.server import CommandServer, ServerCommand\n"
        f"given = {{'command': {[*SERVE, 'children=1']!r}, 'stop': 'INT'}}\n"
        "server = CommandServer(msgspec.convert(given, ServerCommand))\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    # Nobody is left to remove the server's folder.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    with owner.stdout as said:
        pid = int(said.readline())
        tree = [psutil.Process(pid), *psutil.Process(pid).children()]
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    until(lambda: not [process for process in tree if lives(process)])


def test_its_node_counts_the_time_of_all_its_processes() -> None:
    made_node = node({"command": {"command": [*SERVE, "busy=30", "children=1"], "stop": "INT"}})
    try:
        before = made_node.counts()["server_cpu_seconds"]
        host, port = made_node.facts.address or ("", 0)
        for _ in range(10):
            script = "import socket,sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.recv(1)"
            subprocess.run([sys.executable, "-c", script, host, str(port)], check=True)
        assert 0.25 <= made_node.counts()["server_cpu_seconds"] - before < 5
        assert made_node.facts.text["server"].startswith("Python")
    finally:
        made_node.close()
    assert made_node.counts() == {}, "a server that is gone is no error"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"command": []}, "command: a command needs a program"),
        (
            {"command": ["x", "{prot}"]},
            "command: {prot} means nothing here: there are {host}, {port}, {folder}, {threads}",
        ),
        ({"command": ["x", '{"a": {"b": 1}}']}, 'command: \'{"a": {"b": 1}}\' doubles some of its own braces and not'),
        ({"command": ["x"], "files": {"c.json": '{"a": {"b": {port}}}'}}, "files.c.json: "),
        ({"command": ["x", "{host:{port}"]}, "command: '{host:{port}' opens {host and doesn't close it"),
        ({"command": ["x"], "prepare": [["y"], ["z", "{seconds}"]]}, "prepare[1]: {seconds} means nothing here"),
        ({"command": ["x"], "files": {"../x": ""}}, "is no name of a file"),
        ({"command": ["x"], "files": {"conf": "{ports}"}}, "did you mean {port}?"),
        ({"command": ["x"], "ready": {"text": "("}}, "ready.text: '(' is no pattern"),
        ({"command": ["x"], "stop": "STOP"}, "stop: 'STOP' is no such signal; allowed: TERM, INT, QUIT, KILL"),
        ({"command": ["x", 42]}, "command[1]: should be text, found the number 42; in quotes it is text"),
        ({"command": ["x", True]}, "command[1]: should be text, found true; in quotes it is text"),
        (
            {"command": ["x"], "environment": {"B": "b", "A": 5}},
            "environment.A: should be text, found the number 5; in quotes it is text",
        ),
        ({"command": "x"}, "command: should be a list, found"),
        ({"commands": ["x"]}, "commands: unknown option 'commands'"),
        ({"command": ["x"], "port": 70000}, "port: should be a whole number <= 65535"),
    ],
)
def test_what_can_be_no_server_is_refused_with_its_place(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        registry.check(plugin(SERVERS, "command"), options)
    assert said in str(caught.value)
