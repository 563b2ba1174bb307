#!/bin/sh
# Install what the VM tier of the tests needs, and unpack a distribution's kernel into its cache. Debian and Ubuntu.
set -eu
cache=${MUSTHERD_TESTBED_CACHE:-$HOME/.cache/mustherd}/vm
tools="qemu-system-x86 busybox-static acpica-tools zstd"

if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo=sudo; fi
missing=
for tool in $tools; do
  dpkg-query -W -f='${Status}' "$tool" 2>/dev/null | grep -q 'ok installed' || missing="$missing $tool"
done
if [ -n "$missing" ] || [ -z "$(ls "$cache"/kernel/boot/vmlinuz-* 2>/dev/null)" ]; then
  $sudo apt-get update -qq
fi
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if [ -n "$(ls "$cache"/kernel/boot/vmlinuz-* 2>/dev/null)" ]; then
  exit 0
fi

depends() { apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *|*Depends: \(linux-\(image\|modules\)-.*[0-9].*\)$/\1/p'; }
for meta in linux-image-amd64 linux-image-generic; do
  packages=$(depends "$meta")
  if [ -n "$packages" ]; then break; fi
done
for package in $packages; do packages="$packages $(depends "$package")"; done
mkdir -p "$cache"
work=$(mktemp -d "$cache/download.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
for package in $(printf '%s\n' $packages | sort -u); do
  apt-get download -o APT::Sandbox::User="$(id -un)" "$package" >/dev/null
done
mkdir kernel
for file in *.deb; do dpkg-deb -x "$file" kernel; done
rm -rf kernel/usr/share kernel/lib/firmware
rm -rf "$cache/kernel"
mv kernel "$cache/kernel"
