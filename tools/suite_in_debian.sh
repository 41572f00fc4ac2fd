#!/usr/bin/env bash
# Runs what CI runs on the commit that is checked out, in a Debian of its own; unstable has the newest Python.
# usage, as root with debootstrap installed: tools/suite_in_debian.sh FOLDER [SUITE]
# FOLDER is made, takes about 2 GB, and is kept for the next run. Nothing else changes.
set -euo pipefail
[ $# -ge 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
folder=$(realpath "$1")
suite=${2:-unstable}
project=$(realpath "$(dirname "$0")/..")

if [ ! -e "$folder/bootstrapped" ]; then
  mkdir "$folder"  # fails for a folder that is not ours
  debootstrap --variant=minbase --include=ca-certificates,gcc,git,make,python3-dev,python3-venv \
    "$suite" "$folder"
  touch "$folder/bootstrapped"
fi
# A proxy's certificates are those of this machine.
install -m 644 /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
cp /etc/resolv.conf "$folder/etc/"
rm -rf "$folder/srv/otabuild"
git clone --quiet --no-hardlinks "$project" "$folder/srv/otabuild"

# In namespaces of their own, mounts and processes end with the run.
exec unshare --mount --propagation private --pid --fork --kill-child sh -euc '
  mount -t proc proc "$1/proc"
  mount --rbind /dev "$1/dev"
  exec chroot "$1" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt /srv/otabuild/.ci/run
' sh "$folder"
