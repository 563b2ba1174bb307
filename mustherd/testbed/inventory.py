"""The inventory of a test bed: in the format of any herd's, so that what was rehearsed is what is done."""

import re
import shlex
import sys
from ipaddress import IPv4Network
from pathlib import Path

from mustherd.provision import inventory
from mustherd.testbed.daemon import NAMESPACE, BedState, sockets
from mustherd.testbed.hosts import NETWORK, PREFIX


def write(state: BedState, folder: Path, *, project: Path) -> Path:
    """Write the folder, which must not be there; the first host is the shepherd's, the others are musters.

    The control machine conducts experiments, so that no host needs more than a muster does. Musters work on twins.
    """
    hosts = [inventory.Host(name, address, "root", address=address) for name, address in state.hosts.items()]
    dial = ["ip", "netns", "exec", state.namespace, sys.executable, "-m", "mustherd.testbed.proxy_command", "%h", "%p"]
    names = list(state.hosts)
    options = f"-F none -o UserKnownHostsFile={state.known_hosts}"
    return inventory.write(
        inventory.Nodes(tuple(hosts), IPv4Network(f"{NETWORK}.0/{PREFIX}")),
        folder,
        project=project,
        musters=names[1:] or names,
        agents=names[1:][-1:],
        variables={
            "ansible_ssh_private_key_file": state.key,
            "ansible_ssh_common_args": f'{options} -o ProxyCommand="{shlex.join(dial)}"',
            "ansible_control_path": f"{sockets()}/%%h",
            "common_upgrade": False,
            "memcached_mutilate_memcached": "package",
            "memcached_mutilate_memory_mib": 64,
            # A twin's load needs none; true fetches and builds it, where the internet can be reached.
            "memcached_mutilate_mutilate": False,
            "mustherd_shepherd": state.control,
            # The control machine's, which conducts experiments.
            "mustherd_shepherd_service": False,
            "mustherd_whole": False,
            "mustherd_twin": {"profile": "c6220", "speed": 100},
        },
    )


def unlike(state: BedState, folder: Path) -> str:
    """What in an inventory that was kept fits another bed than the one that is up; '' where all of it fits.

    Read as text: whoever changed it may have moved what it says to any of its files.
    """
    files = sorted((*folder.rglob("*.yml"), *folder.rglob("*.yaml"))) if folder.is_dir() else [folder]
    text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
    beds = set(re.findall(rf"{NAMESPACE}-[0-9a-f]{{8}}", text))
    if beds and state.namespace not in beds:
        return "it leads to the bed of another cache folder"
    named = set(re.findall(rf"\b{re.escape(NETWORK)}\.[0-9]+\b(?!/)", text)) - {state.control}
    said = []
    if gone := sorted(named - set(state.hosts.values())):
        said.append(f"it names {', '.join(gone)}, which this bed has not")
    if left := sorted(name for name, address in state.hosts.items() if address not in named):
        said.append(f"it leaves out {', '.join(left)}")
    return " and ".join(said)
