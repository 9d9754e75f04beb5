#!/bin/sh
# A real `vagrant up` of the Vagrantfile, on any machine: `sudo sh tests/vm/vagrant_up.sh [--release trixie]`
#
# With Debian's vagrant and libvirt and the box of box.sh: up, `sudo labrt doctor` all green, JupyterLab through the forwarded port
# with its token and not without, a second provision that leaves it running, destroy. A registry beside it is the mirror
# that LABRT_MIRROR names, so the doctor has one to ask, and setup.sh one to fetch the course's images from.
#
# It all happens in a Debian of its own and in namespaces of its own (mounts, processes, network, IPC, host name). That
# network has no way out; what is written lies in an overlay. Both are gone when the script ends, and so are libvirtd and the
# machine (after a kill -9, only a folder labrt-vagrant.* is left in TMPDIR). Kept in LABRT_VM_CACHE (/var/cache/labrt-vm): that Debian and the box, some 3 GB; remove
# `vagrant-*` and `labrt-*.box` there to have them made anew. The machine is emulated, which takes ten to twenty minutes;
# LABRT_VM_ACCEL=kvm has KVM run it, where that works.
# Exit status: 0 when all was well; 77 when it cannot be tried here, and why.
set -eu
umask 022
release=bookworm
[ "${1:-}" != --release ] || { release=$2; shift 2; }
[ $# -eq 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cd -P -- "$(dirname -- "$0")/../.."
cannot() { printf 'labrt: no vagrant up here: %s\n' "$*" >&2; exit 77; }

[ "$(id -u)" -eq 0 ] || cannot "it needs root: sudo sh tests/vm/vagrant_up.sh"
[ "$(uname -m)" = x86_64 ] || cannot "the box of tests/vm/box.sh is for x86-64"
command -v mmdebstrap >/dev/null || cannot "mmdebstrap is missing (package mmdebstrap)"

cache=${LABRT_VM_CACHE:-/var/cache/labrt-vm}
mkdir -p "$cache"
packages="vagrant vagrant-libvirt libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils seabios
    ipxe-qemu dnsmasq-base iptables openssh-client rsync iproute2 procps netcat-openbsd curl libarchive-tools
    docker-registry skopeo python3 busybox-static"
key=$({ echo "$packages"; cat tests/vm/debian.sh; } | sha256sum | cut -c 1-16)
debian=$cache/vagrant-$key
if [ ! -d "$debian" ]; then
    echo "labrt: making a Debian with vagrant and libvirt (some minutes, the first time)" >&2
    find "$cache" -maxdepth 1 -name 'vagrant-*' -exec rm -rf --one-file-system {} +
    rm -rf --one-file-system "$debian.new"
    # bookworm is the last Debian that has a vagrant.
    status=0
    # shellcheck disable=SC2086  # a list of words
    sh tests/vm/debian.sh bookworm "$debian.new" "$(dpkg --print-architecture)" $packages >"$cache/vagrant.log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || { tail -n 3 "$cache/vagrant.log" >&2; exit "$status"; }
    mv "$debian.new" "$debian"
fi

box=$cache/labrt-$release-$(cat pyproject.toml labrt/setup.sh tests/vm/box.sh tests/vm/build.sh tests/vm/debian.sh | sha256sum | cut -c 1-16).box
if [ ! -e "$box" ]; then
    echo "labrt: building the box (some minutes, the first time)" >&2
    rm -f "$cache/labrt-$release"-*.box
    LABRT_VAGRANT_KEY=$(find "$debian/usr/share" -path '*keys/vagrant.pub') \
        sh tests/vm/box.sh --release "$release" "$box" >"$cache/box.log" 2>&1 || { status=$?; tail -n 3 "$cache/box.log" >&2; exit "$status"; }
fi

# One emulated machine at a time.
exec 9>"$cache/lock"
flock 9
work=$(mktemp -d "${TMPDIR:-/tmp}/labrt-vagrant.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work/upper/project" "$work/upper/box" "$work/layer" "$work/root"
git ls-files -z --cached --others --exclude-standard | tar -c --ignore-failed-read --null -T - 2>/dev/null | tar -x -C "$work/upper/project"
cp tests/vm/vagrant_inside.sh "$work/upper/inside.sh"
ln "$box" "$work/upper/box/labrt.box" 2>/dev/null || cp "$box" "$work/upper/box/labrt.box"

# Process 1 of the new process namespace dies with unshare, unshare with this shell, and everything else with process 1.
# shellcheck disable=SC2016  # expanded in there
setpriv --pdeathsig KILL unshare --mount --pid --net --ipc --uts --fork --kill-child=KILL sh -euc '
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/layer" "$2/root"
    cd "$2/root"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount --rbind /dev dev
    mount -t tmpfs tmpfs dev/shm
    mount -t tmpfs tmpfs run
    exec chroot . env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin LABRT_VM_ACCEL="$3" sh /inside.sh
' sh "$debian" "$work" "${LABRT_VM_ACCEL:-tcg}" </dev/null 9>&- &
all=$!
trap 'kill -KILL $all 2>/dev/null || true; wait $all 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
trap 'exit 143' INT TERM HUP
status=0
wait $all || status=$?
trap 'rm -rf --one-file-system "$work"' EXIT
[ "$status" -eq 0 ] || exit "$status"
echo "labrt: vagrant up, doctor, provision and destroy: all is well" >&2
