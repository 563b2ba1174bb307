import pytest

from mustherd.load.address import Address
from mustherd.load.memcached.presets import load
from mustherd.load.mutilate import command
from mustherd.load.mutilate.command import MutilateOptions

SERVER = [Address("10.10.1.2", 11211)]
AGENTS = ["10.10.1.3", "10.10.1.4"]


def test_the_reference_experiments_commands() -> None:
    """As facts of the reference experiment have them, but for the port and the word for verbose."""
    options, etc = MutilateOptions(), load("etc", 400_000, outstanding=2048)
    assert command.agent(options) == ["mutilate", "--agentmode", "--threads=16"]
    assert command.preload(options, SERVER, etc) == [
        "mutilate",
        "--binary",
        "--server=10.10.1.2:11211",
        "--loadonly",
        "--keysize=fb_key",
        "--valuesize=fb_value",
        "--records=10000",
    ]
    assert set(command.leader(options, SERVER, etc, seconds=30, agents=AGENTS)) == {
        "mutilate",
        "--binary",
        "--server=10.10.1.2:11211",
        "--noload",
        "--agent=10.10.1.3",
        "--agent=10.10.1.4",
        "--threads=1",
        "--keysize=fb_key",
        "--valuesize=fb_value",
        "--records=10000",
        "--iadist=fb_ia",
        "--update=0.25",
        "--depth=4",
        "--measure_depth=1",
        "--connections=16",
        "--measure_connections=32",
        "--measure_qps=2000",
        "--qps=400000",
        "--time=30",
        "--verbose",
    }


def test_usr_is_small_and_hardly_writes() -> None:
    argv = command.leader(MutilateOptions(), SERVER, load("usr", 10), seconds=1)
    assert {"--keysize=19", "--valuesize=2", "--update=0.01", "--iadist=exponential"} <= set(argv)


def test_without_agents_nothing_is_measured_apart() -> None:
    argv = command.leader(MutilateOptions(), SERVER, load("etc", 10), seconds=1)
    assert not [word for word in argv if word.startswith(("--measure", "--agent"))]


def test_every_switch_and_number() -> None:
    options = MutilateOptions(
        program="/opt/mutilate",
        binary=False,
        agent_port=6555,
        lambda_mul=2,
        wait_s=3,
        affinity=True,
        round_robin=True,
        skip=True,
        moderate=True,
        blocking=True,
        no_nodelay=True,
        depth=7,
        key_size="30",
        value_size="200",
        arrivals="fixed",
    )
    argv = command.leader(options, SERVER, load("etc", 10), seconds=1, warmup_s=2, agents=AGENTS, save="/tmp/s")
    assert {
        "/opt/mutilate", "--affinity", "--roundrobin", "--skip", "--moderate", "--blocking", "--no_nodelay",
        "--lambda_mul=2", "--wait=3", "--warmup=2", "--save=/tmp/s", "--depth=7", "--agent_port=6555", "--keysize=30",
        "--valuesize=200", "--iadist=fixed",
    } <= set(argv)  # fmt: skip
    assert "--binary" not in argv
    assert {"--agent_port=6555", "--lambda_mul=2", "--affinity", "--blocking"} <= set(command.agent(options))


@pytest.mark.parametrize(
    ("outstanding", "agents", "depth"), [(256, 0, 16), (256, 1, 1), (1024, 1, 4), (2048, 2, 4), (1, 5, 1)]
)
def test_outstanding_requests_are_shared_out_over_connections(outstanding: int, agents: int, depth: int) -> None:
    assert command.depth(MutilateOptions(), load("etc", 10, outstanding=outstanding), agents) == depth
