#!/bin/sh
# A power cut in the middle of pulls and runs, three times, and then: is the store right? `sudo sh tests/vm/power_cut.sh`
#
# The guest reboots itself without a sync (b to sysrq-trigger), and what was in its memory only is lost. Its disk lives on
# from boot to boot here, in a copy. Exit status: 0 when every blob is what its name says and containers run again.
set -eu
here=$(dirname -- "$0")
disk=$(mktemp -d "${TMPDIR:-/tmp}/labrt-power.XXXXXX")
trap 'rm -rf "$disk"' EXIT
export LABRT_VM_KEEP="$disk"
trap 'exit 130' INT TERM

cat >"$disk/cut" <<'JOB'
cd /vagrant && sh labrt/setup.sh install >/dev/null || exit 1
labrt=.venv/bin/labrt
cat >/tmp/pulls.py <<'PY'
import os
import labrt
from labrt.engine import embedded
with embedded.serve() as server:
    name = f"{server.url.split('//')[1]}/{embedded.REFERENCE.repository}:{embedded.REFERENCE.tag}"
    while True:
        labrt.pull(name)
        os.system(f".venv/bin/labrt rmi -f {name} >/dev/null 2>&1")
PY
.venv/bin/python /tmp/pulls.py >/dev/null 2>&1 &
(while :; do $labrt run --rm busybox true; done) >/dev/null 2>&1 &
(while :; do $labrt run -d busybox sh -c 'echo much >file; sleep 1'; done) >/dev/null 2>&1 &
sleep $((20 + $(od -An -N1 -tu1 /dev/urandom) % 20))
echo "cutting the power"
sleep 1
echo b >/proc/sysrq-trigger
sleep 60
JOB
cat >"$disk/check" <<'JOB'
cd /vagrant && sh labrt/setup.sh install >/dev/null || exit 1
labrt=.venv/bin/labrt
blobs=0
for blob in $(find /var/lib/labrt -type f -path '*/blobs/sha256/*' | grep -E '/[0-9a-f]{64}$'); do
    blobs=$((blobs + 1))
    [ "$(sha256sum <"$blob" | cut -c 1-64)" = "${blob##*/}" ] || { echo "not what its name says: $blob"; exit 1; }
done
[ "$blobs" -gt 0 ] || { echo "the store is empty"; exit 1; }
$labrt images || exit 1
left=$($labrt ps -aq) || exit 1
[ -z "$left" ] || $labrt rm -f $left || exit 1
[ "$($labrt run --rm busybox echo well)" = well ] || exit 1
.venv/bin/python -c 'import labrt; print(labrt.reset())' || exit 1
[ "$($labrt run --rm busybox echo well)" = well ] || exit 1
echo "the store is right: $blobs blobs, $(echo "$left" | wc -w) containers of before removed"
JOB
for cut in 1 2 3; do
    echo "labrt: power cut $cut of 3" >&2
    status=0
    sh "$here/run.sh" --job "$disk/cut" || status=$?
    [ "$status" -eq 98 ] || { echo "labrt: the guest was to be cut off, and ended with $status" >&2; exit 1; }
done
sh "$here/run.sh" --job "$disk/check"
