#!/bin/sh
# Becomes a service manager with namespaces of its own, on a copy of this system that is gone with it.
#   boot.sh FOLDER PYTHON_PREFIX SITE_PACKAGES REPOSITORY
# FOLDER/files is laid over the copy.
set -e
folder=$1 root=$1/root
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder/changes"
mkdir "$folder/changes/upper" "$folder/changes/work"
mount -t overlay -o "lowerdir=/,upperdir=$folder/changes/upper,workdir=$folder/changes/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/dev"
for device in null zero full random urandom tty ptmx; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s /proc/self/fd "$root/dev/fd"
for inside in python site source; do
    shift
    mkdir -p "$root/opt/$inside"
    mount --bind "$1" "$root/opt/$inside"
done
cp -R "$folder/files/." "$root/"
cd "$root"
mkdir before
pivot_root . before
umount -l /before
# What is mounted for a service has to be seen by it, as after a real boot.
mount --make-rshared /
export container=namespaces
exec /lib/systemd/systemd --system --unit=under-test.target --show-status=no
