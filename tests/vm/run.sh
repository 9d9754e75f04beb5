#!/bin/sh
# The suite in a guest like the students' machine: Debian's systemd, cgroup v2, AppArmor and stock kernel, booted once.
#
#   sudo sh tests/vm/run.sh                        what tests/vm/selection names: what a stock kernel is needed for
#   sudo sh tests/vm/run.sh --all                  the whole suite, notebooks included (an hour and more without KVM)
#   sudo sh tests/vm/run.sh --release trixie       on Debian 13: Python 3.13, Linux 6.12
#   sudo sh tests/vm/run.sh --arch arm64           on the other processor, emulated: what tests/vm/selection-foreign names
#   sudo sh tests/vm/run.sh -- -k cgroup -x        arguments for pytest
#   sudo sh tests/vm/run.sh --job FILE             a shell script instead of the tests
#
# The guest is built once and kept in LABRT_VM_CACHE (/var/cache/labrt-vm) under a hash of what builds it. It is set up by
# what the Vagrantfile calls, labrt/setup.sh; another processor's by QEMU's user emulation (packages qemu-system-arm and
# qemu-user-static; see foreign.sh), in half an hour. Results: vm-RELEASE/{junit.xml,log,console.log} in LABRT_VM_OUT (the cache).
# Exit status: pytest's; 98 when the guest gave none; 77 when this machine cannot make one: it lacks root, a tool or a way
# to Debian's packages, and says which. A guest whose making fails is an error, 1; 124 when LABRT_VM_SECONDS were too few.
set -eu
release=bookworm arch='' all='' job=''
while [ $# -gt 0 ]; do
    case $1 in
        --release) release=$2; shift 2 ;;
        --arch) arch=$2; shift 2 ;;
        --all) all=1; shift ;;
        --job) job=$(realpath "$2"); shift 2 ;;
        --) shift; break ;;
        *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
cd -P -- "$(dirname -- "$0")/../.."
cannot() { printf 'labrt: no guest here: %s\n' "$*" >&2; exit 77; }

[ "$(id -u)" -eq 0 ] || cannot "building it needs root: sudo sh tests/vm/run.sh"
native=$(uname -m)
case ${arch:-$native} in
    amd64 | x86_64) arch=amd64 machine=x86_64 ;;
    arm64 | aarch64) arch=arm64 machine=aarch64 ;;
    *) cannot "Debian has no cloud kernel for ${arch:-$native}: --arch is amd64 or arm64" ;;
esac
if [ "$machine" = "$native" ]; then name=$release selection=tests/vm/selection
else name=$arch-$release selection=tests/vm/selection-foreign; fi
for tool in "qemu-system-$machine:qemu-system" mmdebstrap:mmdebstrap mkfs.ext4:e2fsprogs cpio:cpio depmod:kmod xz:xz-utils zstd:zstd; do
    command -v "${tool%%:*}" >/dev/null || cannot "${tool%%:*} is missing (package ${tool#*:})"
done

cache=${LABRT_VM_CACHE:-/var/cache/labrt-vm}
out=${LABRT_VM_OUT:-$cache}/vm-$name
mkdir -p "$cache" "$out"
key=$(cat pyproject.toml labrt/setup.sh tests/vm/build.sh tests/vm/debian.sh tests/vm/foreign.sh tests/vm/job.sh tests/vm/labrt-job.service | sha256sum | cut -c 1-16)
guest=$cache/$name-$key
# One at a time: two emulated guests would be twice as slow each.
exec 9>"$cache/lock"
flock 9
if [ ! -e "$guest/disk.raw" ]; then
    echo "labrt: building the guest: $name (some minutes, the first time)" >&2
    find "$cache" -maxdepth 1 -name "$name-*" -exec rm -rf --one-file-system {} +  # older ones
    status=0
    sh tests/vm/build.sh "$release" "$guest" "$arch" >"$out/build.log" 2>&1 9>&- || status=$?
    [ "$status" -ne 77 ] || cannot "$(tail -n 1 "$out/build.log")"
    if [ "$status" -ne 0 ]; then
        echo "labrt: the guest could not be built; $out/build.log says why, and ends with" >&2
        tail -n 5 "$out/build.log" >&2
        exit 1
    fi
fi

# With LABRT_VM_KEEP, a folder, the guest's disk lives on there from boot to boot.
if [ -n "${LABRT_VM_KEEP:-}" ] && [ ! -e "$LABRT_VM_KEEP/disk.raw" ]; then
    cp --sparse=always --reflink=auto "$guest/disk.raw" "$guest/vmlinuz" "$guest/initrd" "$LABRT_VM_KEEP/"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/labrt-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM HUP
chmod 755 "$work"  # it is the guest's / that takes this mode over
mkdir "$work/vagrant"
git ls-files -z --cached --others --exclude-standard | tar -c --ignore-failed-read --null -T - 2>/dev/null | tar -x -C "$work/vagrant"
[ ! -d ../shared ] || { mkdir "$work/shared"; cp -r ../shared/images ../shared/specs "$work/shared/"; }
if [ -n "$job" ]; then
    cp "$job" "$work/vagrant/.job"
else
    # shellcheck disable=SC2046  # a list of words
    [ -n "$all" ] || set -- $(sed '/^#/d' $selection) "$@"
    {
        echo 'cd /vagrant || exit 1'
        echo 'sh labrt/setup.sh install || exit 1   # what the Vagrantfile provisions with'
        echo '[ "$(systemd-detect-virt)" != qemu ] || export LABRT_SLOWNESS=10   # emulated: a cell may take longer'
        # Three minutes before the guest's time is over pytest is interrupted, and says what has failed so far.
        echo "exec timeout --foreground --signal=INT $((${LABRT_VM_SECONDS:-3600} - 180)) \\"
        printf '    sh labrt/setup.sh test --junit-xml=/out/junit.xml -p no:cacheprovider'
        for word; do printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done
        echo
    } >"$work/vagrant/.job"
fi
tar -c -f "$work/payload.tar" -C "$work" --exclude=payload.tar .
rm -rf "$work/vagrant" "$work/shared" "$out/junit.xml"
status=0
# As a job, because a shell hears no signal while it waits for a program; and it ends when this shell does.
LABRT_VM_MACHINE=$machine setpriv --pdeathsig TERM sh tests/vm/boot.sh "${LABRT_VM_KEEP:-$guest}" "$work/payload.tar" "$out" 9>&- &
boot=$!
trap 'kill $boot; wait $boot || true; exit 143' INT TERM HUP
wait $boot || status=$?
trap - INT TERM HUP
[ ! -s "$out/junit.xml" ] || echo "labrt: results are in $out" >&2
exit "$status"
