#!/bin/sh
# Make the pair of trees that the benchmarks build: make_rootfs.sh FOLDER [MIRROR]; needs root and debootstrap.
# FOLDER/rootfs is a Debian system with compilers and a kernel, FOLDER/rootfs2 the same with four packages more.
set -eu
folder=$1
mirror=${2:-http://deb.debian.org/debian}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

in_tree() {
    tree=$1
    shift
    mount -t proc proc "$tree/proc"
    chroot "$tree" "$@" || { umount "$tree/proc"; exit 1; }
    umount "$tree/proc"
}

mkdir -p "$folder"
debootstrap --variant=minbase bookworm "$folder/rootfs" "$mirror"
in_tree "$folder/rootfs" apt-get install -y --no-install-recommends \
    systemd systemd-sysv dbus udev linux-image-amd64 build-essential gfortran python3-full \
    git vim perl openssh-server iproute2 man-db locales gdb cmake
chroot "$folder/rootfs" apt-get clean
cp -a "$folder/rootfs" "$folder/rootfs2"
in_tree "$folder/rootfs2" apt-get install -y tmux htop rsync python3-yaml
chroot "$folder/rootfs2" apt-get clean
for tree in rootfs rootfs2; do
    echo "$folder/$tree: $(find "$folder/$tree" -xdev | wc -l) entries, $(du -sxm "$folder/$tree" | cut -f1) MiB"
done
