#!/bin/sh
# dpkg --purge takes keys and counts as well.
set -e
if [ "$1" = purge ]; then
  rm -rf /etc/hpc-exporter /var/lib/hpc-exporter /var/lib/private/hpc-exporter
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
