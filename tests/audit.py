"""make audit: the locked dependencies against the advisory database of PyPI, by pip-audit, which is fetched for it.

Exit code 0: nothing is known of any; 1: something is; 3: the database, or the program, could not be reached.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNREACHABLE = 3
OFFLINE = ("Connection", "ConnectTimeout", "Max retries", "Name or service", "No matching distribution", "403", "404")
"""What pip and pip-audit say when nobody answers them."""


def main() -> int:
    """Run it in an environment of its own, so that ours stays as it is locked."""
    with tempfile.TemporaryDirectory(prefix="audit-") as home:
        venv.create(home, with_pip=True)
        python = str(Path(home) / "bin" / "python")
        made = _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit")
        if made.returncode:
            return _unreachable("pip-audit can't be installed from the package index", made)
        done = _run(
            python, "-m", "pip_audit", "--requirement", str(ROOT / "requirements.lock"), "--no-deps", "--disable-pip"
        )
        print(done.stdout, end="")
        if done.returncode and any(word in done.stderr for word in OFFLINE) and "vulnerabilit" not in done.stderr:
            return _unreachable("the advisory database can't be reached", done)
        print(done.stderr, end="", file=sys.stderr)
        return int(done.returncode != 0)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _unreachable(what: str, done: "subprocess.CompletedProcess[str]") -> int:
    last = (done.stderr.strip() or done.stdout.strip() or "no answer").splitlines()[-1]
    print(f"make audit: {what} ({last[:300]}); nothing was audited: run it where it can be", file=sys.stderr)
    return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
