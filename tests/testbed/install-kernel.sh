#!/bin/sh
# What the kernel tier of the tests needs on this machine; run as root. Debian 12, whose kernel source it builds.
set -eu
export DEBIAN_FRONTEND=noninteractive
wanted="qemu-system-x86 acpica-tools mmdebstrap grub-common grub-pc-bin openssh-client e2fsprogs linux-source-6.1"
# What the role installs on a machine that builds, which has no package registry within the test.
wanted="$wanted bc bison build-essential cpio dwarves fakeroot flex git kmod libelf-dev libssl-dev xz-utils"
missing=""
for package in $wanted; do
    dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    apt-get -o DPkg::Lock::Timeout=300 --quiet=2 update
    # shellcheck disable=SC2086 # a list of words
    apt-get -o DPkg::Lock::Timeout=300 --quiet=2 install --yes --no-install-recommends $missing
fi
