import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.muster.config import ConfigError
from mustherd.muster.privileges import require_guarded

PROBE = """
import os, socket
from mustherd.muster.privileges import NODE, Capability, keep, stay_on
before = int(open('/proc/self/status').read().split('CapPrm:')[1].split()[0], 16)
stay_on([min(os.sched_getaffinity(0))])
keep({keep})
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
mask = sum(1 << c for c in {keep})
for name in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb'):
    held = int(status[name], 16)
    assert held & ~mask == 0, (name, status[name])
assert int(status['CapEff'], 16) == before & mask
assert status['NoNewPrivs'].strip() == '1'
assert len(os.sched_getaffinity(0)) == 1
if before >> 8 & 1:
    assert int(status['CapBnd'], 16) & ~mask == 0
for forbidden in (lambda: os.chroot('/tmp'), lambda: os.nice(-5)):
    try:
        forbidden()
    except OSError as error:
        assert error.errno in (1, 13), error
    else:
        raise AssertionError('still allowed')
child = os.popen('grep CapEff /proc/self/status').read().split()[1]
assert int(child, 16) & ~mask == 0, child
print('gone')
"""


@pytest.mark.process
@pytest.mark.parametrize("keep", ["NODE", "frozenset()", "{Capability.NET_ADMIN}"])
def test_what_is_not_needed_is_given_up_for_good(keep: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.replace("{keep}", keep)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("gone\n", "")


class TestGuarded:
    """Who may change the ranges. Files here belong to whoever runs the tests."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "muster.toml"
        file.write_text("")
        file.chmod(0o640)
        return file

    @pytest.fixture
    def owners(self, file: Path) -> set[int]:
        return {0, file.stat().st_uid}

    def test_a_file_that_only_its_owner_can_change(self, file: Path, owners: set[int]) -> None:
        require_guarded(file, owners)

    @pytest.mark.parametrize("mode", [0o660, 0o646, 0o666])
    def test_a_file_that_others_can_change(self, file: Path, owners: set[int], mode: int) -> None:
        file.chmod(mode)
        with pytest.raises(ConfigError, match=f"with mode {mode:o}: the ranges of a real machine"):
            require_guarded(file, owners)

    def test_a_folder_in_which_others_can_replace_it(self, file: Path, owners: set[int]) -> None:
        file.parent.chmod(0o777)
        with pytest.raises(ConfigError, match=str(file.parent)):
            require_guarded(file, owners)
        file.parent.chmod(0o1777)
        require_guarded(file, owners)

    def test_somebody_else_s_file(self, file: Path) -> None:
        with pytest.raises(ConfigError, match="belongs to user"):
            require_guarded(file, {12345})

    def test_a_link_is_followed(self, file: Path, owners: set[int]) -> None:
        link = file.with_name("link.toml")
        link.symlink_to(file)
        require_guarded(link, owners)
        file.chmod(0o666)
        with pytest.raises(ConfigError, match="mode 666"):
            require_guarded(link, owners)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            require_guarded(tmp_path / "nowhere", {0})

    def test_the_tests_own_user_does_not_pass_for_root(self, file: Path) -> None:
        if file.stat().st_uid != 0:
            with pytest.raises(ConfigError, match="only root"):
                require_guarded(file)
        else:
            require_guarded(Path("/etc/passwd"))
