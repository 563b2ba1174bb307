"""What an output that takes no more means: nobody reads it, or it is full or broken, or what is told can't be read."""

import errno
import os
from pathlib import Path

from mustherd.cli.conduct import _noting_loss


def lost_in(file: Path | int, error: OSError) -> list[OSError]:
    lost: list[OSError] = []
    with open(file, "w") as output, _noting_loss(lost, output):  # noqa: PTH123 (a descriptor has no path)
        fail(error)
    return lost


def fail(error: OSError) -> None:
    raise error


def test_of_an_output_that_takes_no_more_it_is_known_whether_somebody_wanted_it(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert lost_in(writer, BrokenPipeError(errno.EPIPE, "Broken pipe")) == []
    hung_up, other = os.openpty()
    os.close(other)
    assert lost_in(hung_up, OSError(errno.EIO, "Input/output error")) == []
    for broken in (errno.EIO, errno.ENOSPC):
        assert [error.errno for error in lost_in(tmp_path / "x", OSError(broken, os.strerror(broken)))] == [broken]


def test_what_cannot_be_read_is_no_loss_of_the_output(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "experiment.db")
    lost: list[OSError] = []
    with (tmp_path / "x").open("w") as output:
        with _noting_loss(lost, output):
            fail(error)
        output.write("and more")
    assert (lost, (tmp_path / "x").read_text()) == ([error], "and more")
