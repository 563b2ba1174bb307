"""make audit: the locked dependencies against the advisories that PyPI has, by pip-audit, which is fetched for it.

Exit code 0: all were looked up, and nothing is known of any; 1: something is known of one; 3: not all could be looked
up, since the index, or the advisories, can't be reached from here.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KNOWN, UNREACHABLE = 1, 3


def main() -> int:
    """Run it in an environment of its own, so that ours stays as it is locked."""
    with tempfile.TemporaryDirectory(prefix="audit-") as home:
        venv.create(home, with_pip=True)
        python = str(Path(home) / "bin" / "python")
        made = _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit")
        if made.returncode:
            return _unreachable("pip-audit can't be installed from the package index", made)
        lock = str(ROOT / "requirements.lock")
        done = _run(python, "-m", "pip_audit", "--requirement", lock, "--disable-pip", "--require-hashes", "-f", "json")
        try:
            found = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            return _unreachable("the advisories can't be reached", done)
    return judged(found)


def judged(found: list[dict[str, Any]]) -> int:
    """Say what pip-audit found of each dependency; gives the exit code."""
    skipped = [one for one in found if "skip_reason" in one]
    known = [(one["name"], one["version"], vulnerable) for one in found for vulnerable in one.get("vulns", ())]
    for name, version, vulnerable in known:
        fixed = ", ".join(vulnerable["fix_versions"]) or "no version"
        print(f"{name} {version}: {vulnerable['id']}, fixed in {fixed}")
    print(f"{len(found) - len(skipped)} of {len(found)} locked dependencies were looked up, {len(known)} advisories")
    if skipped:
        why = f"{skipped[0]['name']}: {skipped[0]['skip_reason']}"
        print(f"make audit: {len(skipped)} could not be looked up ({why}); run it where PyPI answers", file=sys.stderr)
    return KNOWN if known else UNREACHABLE if skipped or not found else 0


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _unreachable(what: str, done: "subprocess.CompletedProcess[str]") -> int:
    last = (done.stderr.strip() or done.stdout.strip() or "no answer").splitlines()[-1]
    print(f"make audit: {what} ({last[:300]}); nothing was audited: run it where it can be", file=sys.stderr)
    return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
