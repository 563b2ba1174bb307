"""What a playbook's run says, translated: one message per host with the task, what is wrong and the fix."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 1500
"""Characters of a message that are shown; the artifacts hold the rest."""


@dataclass(frozen=True)
class Step:
    """One task on one host, as progress is shown."""

    host: str
    play: str
    task: str
    state: str
    """`started` (host is empty), `ok`, `changed`, `skipped`, `failed`, `unreachable`."""


@dataclass(frozen=True)
class Failure:
    """Why a host is not done."""

    host: str
    task: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.host}: {self.task}: {self.message}\n  fix: {self.fix}"


KNOWN = (
    (
        r"interpreter .*(not found|No such file)|python[\d.]*: (not found|No such file|command not found)",
        "install Python 3 on the host (apt-get install python3), or give ansible_python_interpreter the path of the one"
        " that it has",
    ),
    (
        r"Missing sudo password|password is required|terminal is required|Incorrect sudo password",
        "let the account use sudo without a password, or give ansible_become_password",
    ),
    (r"sudo(: \d+)?: (command )?not found|sudo: not found", "install sudo on the host, or log in as root"),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "compare the host's key with its console or its portal; if the node was installed anew, forget the old key:"
        " ssh-keygen -R ADDRESS",
    ),
    (
        r"Could not resolve hostname",
        "correct ansible_host in the inventory: this machine knows no such name; the other hosts went on",
    ),
    (r"No space left on device|Disk quota exceeded", "free space on the host, then run again: what is done stays done"),
    (
        r"Permission denied \(|Too many authentication failures",
        "give ansible_user and the key that the host knows (ansible_ssh_private_key_file, or an agent)",
    ),
    (
        r"Timed out waiting for|Timeout.* for last boot|reboot.*timed out",
        "look at the machine's console; when it is up again, run again: what is done stays done",
    ),
)
"""What the words of sshd, sudo, Python and the kernel mean for who runs a playbook; the first that fits is shown."""

STATES = {
    "runner_on_ok": "ok",
    "runner_on_skipped": "skipped",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "playbook_on_task_start": "started",
}


def step_of(event: Mapping[str, Any]) -> Step | None:
    """An event of ansible-runner as a step; None for one that is no task's start or end."""
    state = STATES.get(event.get("event", ""))
    if state is None:
        return None
    data = event.get("event_data") or {}
    if state == "ok" and (data.get("res") or {}).get("changed"):
        state = "changed"
    if state == "failed" and data.get("ignore_errors"):
        state = "ok"
    return Step(str(data.get("host") or ""), str(data.get("play") or ""), str(data.get("task") or ""), state)


def failure_of(event: Mapping[str, Any]) -> Failure | None:
    """An event of ansible-runner as a failure; None for any other."""
    step = step_of(event)
    if step is None or step.state not in ("failed", "unreachable"):
        return None
    result = (event.get("event_data") or {}).get("res") or {}
    text = _text(result)
    if step.state == "unreachable":
        return Failure(
            step.host,
            step.task,
            f"the host cannot be reached: {text}",
            _known(text)
            or "see that the host is up and that ssh to it works from here, then run again; the other hosts went on",
        )
    # A check names all that it has found, a line each.
    parts = [line.partition("Fix:") for line in (text.splitlines() if text.count("Fix:") > 1 else [text])]
    fixes = [fix.strip() for _, _, fix in parts if fix]
    return Failure(
        step.host,
        step.task,
        " ".join(message.strip() for message, _, _ in parts if message.strip()),
        "; ".join(dict.fromkeys(fixes))
        or _known(text)
        or "see the task's output in the artifacts, fix it on the host, then run again: what is done stays done",
    )


def _known(text: str) -> str:
    """The fix for words that are known; "" for others."""
    return next((fix for pattern, fix in KNOWN if re.search(pattern, text, re.IGNORECASE)), "")


def _text(result: Mapping[str, Any]) -> str:
    """The most telling words of a result: of the failed item, of stderr, of the message."""
    items = [item for item in result.get("results") or () if isinstance(item, Mapping) and item.get("failed")]
    if items:
        return _text(items[0])
    modules = result.get("failed_modules")
    if isinstance(modules, Mapping) and modules:
        # Facts are gathered by modules of their own; the result itself only lists their names.
        return _text(next((m for m in modules.values() if isinstance(m, Mapping)), {}))
    message = str(result.get("msg") or "").strip()
    if message in ("", "non-zero return code") or message.startswith(("MODULE FAILURE", "Module result deserial")):
        message = str(result.get("stderr") or result.get("module_stderr") or result.get("stdout") or message).strip()
    return message[:LONGEST] or "no message"
