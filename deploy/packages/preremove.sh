#!/bin/sh
# Not at an upgrade: "upgrade" of dpkg, 1 of rpm.
set -e
case "$1" in
  remove | 0)
    if [ -d /run/systemd/system ]; then
      systemctl disable --now hpc-exporter.service
    fi
    ;;
esac
