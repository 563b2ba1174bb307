#!/bin/sh
# What the containers of the test bed need on this machine; run as root. Debian and Ubuntu.
set -eu
exec "$(dirname "$0")/packages.sh" systemd-container mmdebstrap openssh-client iproute2 git
