"""Other users of the machine: loopback is theirs, too, and opens nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.terms import Setting
from mustherd.wire.endpoints import OperatorEndpoint, WireError
from mustherd.wire.keys import create, for_member
from mustherd.wire.messages import KnobsAsk, StatusAsk, StopAsk
from tests.running import definition, start
from tests.waiting import until

pytestmark = pytest.mark.process


@pytest.mark.long
def test_a_herd_of_this_machine_hears_only_who_has_the_keys_of_its_run(tmp_path: Path) -> None:
    run = start(tmp_path, definition(musters=1, trials=400, speed=200))
    address = run.folder / "shepherd.json"
    keys = run.folder / "herd/keys"
    where = until(lambda: json.loads(address.read_text()) if address.exists() else None)
    until((run.folder / "herd/muster-1/state/registers.json").exists)
    # Without a key, and with one that somebody else made.
    create(tmp_path / "other", ["shepherd", "operator"])
    (tmp_path / "other/shepherd.key").write_bytes((keys / "shepherd.key").read_bytes())
    for key in (None, for_member(tmp_path / "other", "operator")):
        for ask in (StopAsk(), StatusAsk(), KnobsAsk(muster="muster-1", settings=(Setting("node-0", "dvfs", 1200),))):
            end = OperatorEndpoint("127.0.0.1", where["coordinate"], key)
            try:
                with pytest.raises(WireError):
                    end.call(ask, timeout_s=0.5)
            finally:
                end.close()
    assert run.process.poll() is None
    # Nobody else can read them, and they end with the run.
    assert keys.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in keys.iterdir() if file.is_file()} == {0o600}
    end = OperatorEndpoint("127.0.0.1", where["coordinate"], for_member(keys, "operator"))
    try:
        end.call(StopAsk())
    finally:
        end.close()
    assert run.finish()[0] == 4
    assert not keys.exists()


def test_a_muster_of_a_real_machine_obeys_nobody_without_keys(tmp_path: Path) -> None:
    config = tmp_path / "m.toml"
    config.write_text(
        f'muster = "m"\nstate = "{tmp_path / "state"}"\n[ranges]\ndvfs = {{low = 1200, high = 2800}}\n[linux]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "mustherd.muster", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"mustherd: {config}: keys: a muster of a real machine obeys a shepherd whose key it")
    assert not (tmp_path / "state").exists()
