"""What a test bed's hosts are made of: root file systems and package lists, made once and kept in the cache."""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mustherd import files
from mustherd.errors import UserError

log = logging.getLogger(__name__)

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-venv,iproute2,ethtool,kmod,procps,udev,sudo,"
    "python3-apt,ca-certificates,irqbalance,build-essential,git,gengetopt,scons,libevent-dev,libzmq3-dev"
)


DEBIAN = "http://deb.debian.org/debian"
UBUNTU = "http://archive.ubuntu.com/ubuntu"


@dataclass(frozen=True)
class Release:
    """What hosts are made of."""

    python: str
    """That a node's own environment runs on."""
    more: str
    """Packages beside those that all have."""
    archive: str = DEBIAN
    components: str = "main"
    updates: str = ""
    """Where the archive has what came after the release, and some of `more` with it."""


_UBUNTU = (UBUNTU, "main universe")
RELEASES = {
    "bookworm": Release("3.11", "cppzmq-dev"),
    "trixie": Release("3.13", "cppzmq-dev"),
    "jammy": Release("3.11", "apt,ubuntu-keyring,python3.11-venv", *_UBUNTU, "jammy-updates"),
    "noble": Release("3.12", "apt,ubuntu-keyring,cppzmq-dev", *_UBUNTU, "noble-updates"),
}
UBUNTU_KEYS = "pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb"
UBUNTU_KEYS_SHA256 = "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"
"""Its archive's key of 2018 has the fingerprint F6ECB3762474EDA9D21B7022871920D1991BC93C."""
KEYRING = Path("usr/share/keyrings/ubuntu-archive-keyring.gpg")
FRESH_S = 1500
"""Age of package lists below which they are taken as they are; the roles refresh those older than an hour."""
KEPT_S = 30 * 86400


class BedError(UserError):
    """The test bed cannot be set up; the message says why and the fix."""

    exit_code = 3


def cache() -> Path:
    """Where root file systems and packages stay from run to run."""
    base = os.environ.get("MUSTHERD_TESTBED_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "mustherd-testbed"


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """One maker of a thing in the cache at a time; the others find it made."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _keyring() -> Path:
    """What Ubuntu's archive signs with: this machine's, where it is an Ubuntu, or the archive's own package of it."""
    own = Path("/") / KEYRING
    if own.exists():
        return own
    folder = cache() / f"ubuntu-keys-{UBUNTU_KEYS_SHA256[:12]}"
    with _alone("ubuntu-keys"):
        if not folder.is_dir():
            address = f"{UBUNTU}/{UBUNTU_KEYS}"
            try:
                with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 (http, as apt)
                    content = answer.read()
            except OSError as error:
                raise BedError(f"{address}: {error}; fix: reach it from this machine") from None
            if hashlib.sha256(content).hexdigest() != UBUNTU_KEYS_SHA256:
                raise BedError(f"{address}: not the file that it should be; fix: install ubuntu-archive-keyring.gpg")
            package = folder.with_suffix(".deb")
            package.write_bytes(content)
            with files.draft(folder, shared=False) as draft:
                run("dpkg-deb", "--extract", str(package), str(draft))
    return folder / KEYRING


def root_file_system(release: str) -> Path:
    """A system with what a node of CloudLab has when it comes, and compilers; made once."""
    about = RELEASES[release]
    packages = f"{PACKAGES},{about.more}"
    name = f"{release}-{hashlib.sha256(packages.encode()).hexdigest()[:12]}"
    folder = cache() / name
    with _alone(name):
        if folder.is_dir():
            return folder
        keyring = (f"--keyring={_keyring()}",) if about.archive == UBUNTU else ()
        with files.draft(folder, shared=False) as draft:
            command = [
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={packages}"),
                # Nothing is lost with a draft that a power cut ends, so no package waits for the disk.
                "--dpkgopt=force-unsafe-io",
                *(*keyring, release, str(draft)),
                *(f"deb {about.archive} {suite} {about.components}" for suite in (release, about.updates) if suite),
            ]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                raise BedError(f"mmdebstrap: {answer.stderr[-2000:].strip()}; fix: reach {about.archive} from here")
    return folder


def package_lists(release: str) -> Path:
    """A layer over the root file system that holds the package lists, fetched once for all hosts."""
    root = root_file_system(release)
    prefix = f"lists-{release}-"
    with _alone(f"{prefix}all"), tempfile.TemporaryDirectory() as scratch:
        kept = sorted(cache().glob(f"{prefix}*[0-9]"))
        now = time.time()
        if kept and now - int(kept[-1].name.removeprefix(prefix)) < FRESH_S:
            return kept[-1]
        folder = cache() / f"{prefix}{int(now)}"
        with files.draft(folder, shared=False) as draft:
            lists = draft / "var/lib/apt/lists"
            (lists / "partial").mkdir(parents=True)
            places = {
                "": root,
                "::State::Lists": lists,
                "::State::status": root / "var/lib/dpkg/status",
                "::Cache": scratch,
            }
            options = [word for name, place in places.items() for word in ("-o", f"Dir{name}={place}")]
            run("apt-get", "--quiet=2", *options, "-o", "APT::Sandbox::User=root", "update")
        # A bed that has been up for long may still use an older one.
        for old in kept:
            if now - int(old.name.removeprefix(prefix)) > KEPT_S:
                shutil.rmtree(old, ignore_errors=True)
    return folder


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of ours that must not fail."""
    log.debug("running %s", " ".join(command))
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise BedError(f"{' '.join(command)}: {answer.stderr.strip()}")
    return answer
