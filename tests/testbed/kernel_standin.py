"""What stands for a kernel's source on a test bed: all of the role's steps over it are real but the boot.

Its release is that of the kernel that runs, so no boot is due. A build waits for as long as there is a file `wait` in
its tree, and fails while there is one called `broken`.
"""

import os
import re
from typing import Any

from tests.testbed.rehearsal import Rehearsal

MAKEFILE = """
.PHONY: all olddefconfig localmodconfig modules_install image_name
all: vmlinuz
vmlinuz: .config main.c
	while test -e wait; do sleep 0.2; done
	test ! -e broken || { echo "main.c:1: error: this does not compile" >&2; exit 1; }
	echo built >> built; cp main.c vmlinuz; cp main.c System.map
olddefconfig:
	test -e .config
localmodconfig:
	read answer && test -z "$$answer"
modules_install:
	mkdir -p $(INSTALL_MOD_PATH)/lib/modules/$(R)
image_name:
	@echo vmlinuz
"""
CONFIG = """#!/usr/bin/python3
import sys
words = sys.argv[3:]
lines = []
while words:
    verb, name = words.pop(0), words.pop(0)
    if verb == "--disable":
        continue
    value = {"--enable": "y", "--module": "m"}.get(verb) or words.pop(0)
    value = f'"{value}"' if verb == "--set-str" else value
    lines.append(f"CONFIG_{name}={value}")
open(".config", "w").write("\\n".join(lines) + "\\n")
"""


def variables(herd: Rehearsal, host: str, *, waits: bool = False) -> dict[str, Any]:
    """Serve it, give a host what it is booted by, and give the role's variables. `waits`: its source has that file."""
    release = os.uname().release
    version = re.match(r"[0-9.]+[0-9]", release)
    assert version
    checksum = herd.tarball(
        f"linux-{version[0]}",
        {
            "Makefile": f"R={release}\n{MAKEFILE}",
            "main.c": "int main;\n",
            "scripts/config": CONFIG,
            **({"wait": ""} if waits else {}),
        },
    )
    menu = (
        "submenu Advanced $menuentry_id_option 'gnulinux-advanced-7f' {\n"
        f"menuentry This $menuentry_id_option 'gnulinux-{release}-advanced-7f' {{\n"
        f"linux /boot/vmlinuz-{release}\n}}\n}}\n"
    )
    (herd.folder / "config-start").write_text("CONFIG_START=y\n")
    prepare = (
        f"mkdir -p /boot/grub /etc/kernel/postinst.d; cat > /boot/grub/grub.cfg <<'END'\n{menu}END\n"
        "ln -s /usr/sbin/update-grub /etc/kernel/postinst.d/zz-update-grub; "
        "printf '#!/bin/sh\\necho updated >> /boot/updated\\n' > /usr/sbin/update-grub; chmod 755 /usr/sbin/update-grub"
    )
    assert herd.bed.ssh(host, prepare).returncode == 0
    return {
        "kernel_ixgbe_kernel": True,
        "kernel_ixgbe_version": version[0],
        "kernel_ixgbe_localversion": release.removeprefix(version[0]),
        "kernel_ixgbe_url": f"{herd.bed.mirror.url}/linux-{version[0]}.tar.gz",
        "kernel_ixgbe_checksum": f"sha256:{checksum}",
        "kernel_ixgbe_config": str(herd.folder / "config-start"),
        "kernel_ixgbe_packages": ["bc"],
        "kernel_ixgbe_free_gib": 0,
        "kernel_ixgbe_boot_free_mib": 0,
    }
