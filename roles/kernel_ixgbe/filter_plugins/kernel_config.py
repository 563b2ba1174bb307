"""Kernel configuration: wanted settings as arguments of scripts/config, and which of them a .config does not have."""

import re
from collections.abc import Mapping
from typing import Any


def _word(value: Any) -> str:
    """YAML turns some ways to write y and n into booleans."""
    return {True: "y", False: "n"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def config_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Arguments of scripts/config that set everything: y, m, n, a number, or a string."""
    arguments: list[str] = []
    for name, value in settings.items():
        word = _word(value)
        if word in ("y", "m", "n"):
            arguments += [{"y": "--enable", "m": "--module", "n": "--disable"}[word], name]
        elif isinstance(value, int):
            arguments += ["--set-val", name, word]
        else:
            arguments += ["--set-str", name, word]
    return arguments


def config_unmet(text: str, settings: Mapping[str, Any]) -> list[str]:
    """What of `settings` a .config's text does not have; off and empty are the same as absent."""
    have = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, flags=re.MULTILINE))
    unmet = []
    for name, value in settings.items():
        word = _word(value)
        found = have.get(name, "n").strip('"') if name in have else ""
        if (word if word != "n" else "") != found:
            unmet.append(f"{name}={word or 'empty'} (is {found or 'off'})")
    return unmet


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"kernel_ixgbe_config_arguments": config_arguments, "kernel_ixgbe_config_unmet": config_unmet}
