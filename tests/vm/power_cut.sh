#!/bin/sh
# A power cut in the middle of pulls, runs, builds, commits and saves, three times: is the store right?
#
#   sudo sh tests/vm/power_cut.sh
#
# The guest reboots itself without a sync (b to sysrq-trigger), and what was in its memory only is lost. Its disk lives on
# from boot to boot here, in a copy. Exit status: 0 when every blob is what its name says, every image runs and holds what
# was put into it, and all of that can be done again; run.sh's 77 when there is no guest here. Arguments go to run.sh.
set -eu
here=$(dirname -- "$0")
disk=$(mktemp -d "${TMPDIR:-/tmp}/labrt-power.XXXXXX")
trap 'rm -rf "$disk"' EXIT
trap 'exit 143' INT TERM HUP
export LABRT_VM_KEEP="$disk"

boot() {  # a job, so that this shell hears signals; it ends when this shell does
    setpriv --pdeathsig TERM sh "$here/run.sh" "$@" &
    wait $!
}

cat >"$disk/cut" <<'JOB'
cd /vagrant && sh labrt/setup.sh install >/dev/null || exit 1
export LABRT_NETWORK=none  # what is cut short here are images and containers
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
cat >/tmp/commits.sh <<'SH'
# Each image holds something large and its checksum; it is committed, saved, and loaded under the name that it had.
turn=0
while :; do
    turn=$((turn + 1))
    name=made-$(cut -c 1-8 /proc/sys/kernel/random/boot_id):$turn
    box=$($1 run -d busybox sh -c "head -c 3000000 /dev/urandom >/much; sha256sum /much >/sum") && $1 wait $box &&
        $1 commit $box $name && $1 rm $box && $1 save -o /var/lib/saved.tar $name && $1 rmi -f $name && $1 load -i /var/lib/saved.tar
    echo "commit $name: $?" >>/var/lib/commits
done
SH
cat >/tmp/builds.sh <<'SH'
# A first step that is in the cache after the first turn, files that differ each time, and a step that runs each time.
turn=0
mkdir -p /var/lib/context
while :; do
    turn=$((turn + 1))
    name=built-$(cut -c 1-8 /proc/sys/kernel/random/boot_id):$turn
    cd /var/lib/context && head -c 1000000 /dev/urandom >much && sha256sum much | sed 's| much| /much|' >sum &&
        printf '%s\n' 'FROM busybox' 'RUN head -c 2000000 /dev/urandom >/early && sha256sum /early >/early.sum' \
            'COPY much sum /' 'RUN head -c 2000000 /dev/urandom >/late && sha256sum /late >/late.sum' >Dockerfile &&
        cd /vagrant && $1 build -q -t $name /var/lib/context
    echo "build $name: $?" >>/var/lib/commits
done
SH
.venv/bin/python /tmp/pulls.py >/dev/null 2>&1 &
(while :; do $labrt run --rm busybox true; done) >/dev/null 2>&1 &
(while :; do $labrt run -d busybox sh -c 'echo much >file; sleep 1'; done) >/dev/null 2>&1 &
sh /tmp/commits.sh $labrt >/dev/null 2>&1 &
sh /tmp/builds.sh $labrt >/dev/null 2>&1 &
boot=$(cut -c 1-8 /proc/sys/kernel/random/boot_id)
both() { grep -qs "^commit made-$boot:.*: 0$" /var/lib/commits && grep -qs "^build built-$boot:.*: 0$" /var/lib/commits; }
tries=0
until both || [ $tries -ge 300 ]; do sleep 1; tries=$((tries + 1)); done
both || { echo "no commit, save and load, or no build, in five minutes"; cat /var/lib/commits; exit 1; }
sleep $((10 + $(od -An -N1 -tu1 /dev/urandom) % 20))
echo "cutting the power; done: $(grep -c ': 0$' /var/lib/commits)"
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
# What had said that it was done: a build, or commit, save and load.
for name in $(sed -n 's/^[a-z]* \(.*\): 0$/\1/p' /var/lib/commits); do
    $labrt images -q "$name" | grep -q . || { echo "lost: $name"; exit 1; }
done
left=$($labrt ps -aq) || exit 1
[ -z "$left" ] || $labrt rm -f $left || exit 1
images=0
for image in $($labrt images | awk 'NR > 1 && $1 != "<none>" { print $1 ":" $2 }'); do
    images=$((images + 1))
    $labrt run --rm $image sh -c 'for sum in /sum /early.sum /late.sum; do [ ! -e $sum ] || sha256sum -c $sum || exit 1; done' ||
        { echo "not what was put into it: $image"; exit 1; }
    $labrt save $image >/dev/null || exit 1
done
[ "$($labrt run --rm busybox echo well)" = well ] || exit 1
.venv/bin/python -c 'import labrt; print(labrt.reset())' || exit 1
box=$($labrt run -d busybox sh -c 'echo again >/again') && $labrt wait $box && $labrt commit $box again && $labrt rm $box || exit 1
[ "$($labrt run --rm again cat /again)" = again ] || exit 1
cd /var/lib/context && date >much && sha256sum much | sed 's| much| /much|' >sum && cd /vagrant || exit 1
$labrt build -t built /var/lib/context && $labrt run --rm built sha256sum -c /sum /early.sum /late.sum || exit 1
echo "the store is right: $blobs blobs, $images images, $(echo "$left" | wc -w) containers of before removed"
JOB
for cut in 1 2 3; do
    echo "labrt: power cut $cut of 3" >&2
    status=0
    boot --job "$disk/cut" "$@" || status=$?
    [ "$status" -ne 77 ] || exit 77
    [ "$status" -eq 98 ] || { echo "labrt: the guest was to be cut off, and ended with $status" >&2; exit 1; }
done
boot --job "$disk/check" "$@"
