#!/bin/sh
# Makes a Debian's file system the image: Python, the wheel beside this file, and what it needs by the lock's versions.
set -eu
here=$(dirname "$0")
export DEBIAN_FRONTEND=noninteractive
command -v ethtool >/dev/null && python3 -c 'import ensurepip' 2>/dev/null || {
    apt-get update -qq
    apt-get install -qq --no-install-recommends python3 python3-venv ethtool
    rm -rf /var/lib/apt/lists/*
}
python3 -m venv /opt/mustherd
# The versions that were tested; what only development and provisioning need stays out.
sed -n '/^[a-z]/{s/ *\\$//;p}' "$here/requirements.lock" > "$here/versions.txt"
/opt/mustherd/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --constraint "$here/versions.txt" "$here"/*.whl
install -m 0755 "$here/pod.sh" /usr/local/bin/mustherd-pod
# What pods mount, in a file system that is read only by then.
mkdir -p /etc/mustherd/own /etc/mustherd/node /etc/mustherd/shepherd /etc/mustherd/accepted /var/lib/mustherd
: > /etc/mustherd/own/key_secret
rm -rf "$here"
