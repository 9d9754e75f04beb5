#!/bin/sh
# In the guest: takes the checkout from the second disk (a tar), runs its job, gives back output, /out and the status.
# The channels are virtio's serial ports: no network and no password is needed to talk to the guest.
ports=/dev/virtio-ports
tries=0
until [ -e $ports/log ] && [ -e $ports/status ] && [ -e $ports/out ] || [ $tries -ge 600 ]; do sleep 0.1; tries=$((tries + 1)); done
exec >$ports/log 2>&1 </dev/null
export HOME=/root USER=root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
# No process may live in a cgroup whose controllers go to its children: step down, then hand on what systemd delegated.
cgroup=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
mkdir -p "$cgroup/job" /vagrant /out
echo $$ >"$cgroup/job/cgroup.procs"
for controller in $(cat "$cgroup/cgroup.controllers"); do echo "+$controller" >"$cgroup/cgroup.subtree_control"; done
tar -x -f /dev/vdb -C / --no-same-owner
sh /vagrant/.job
status=$?
tar -c -C /out . >$ports/out
echo $status >$ports/status
sleep 0.5
