#!/bin/sh
# What the kernel tier of the tests needs on this machine; run as root. Debian 12, whose kernel source it builds.
set -eu
# The second line is what the role installs on a machine that builds, which has no package registry within the test.
exec "$(dirname "$0")/packages.sh" \
    qemu-system-x86 acpica-tools mmdebstrap grub-common grub-pc-bin openssh-client e2fsprogs linux-source-6.1 \
    bc bison build-essential cpio dwarves fakeroot flex git kmod libelf-dev libssl-dev xz-utils
