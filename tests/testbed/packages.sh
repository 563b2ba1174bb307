#!/bin/sh
# Install those of the named packages that this machine does not have; run as root. Debian and Ubuntu.
set -eu
export DEBIAN_FRONTEND=noninteractive
missing=""
for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    apt-get -o DPkg::Lock::Timeout=300 --quiet=2 update
    # shellcheck disable=SC2086 # a list of words
    apt-get -o DPkg::Lock::Timeout=300 --quiet=2 install --yes --no-install-recommends $missing
fi
