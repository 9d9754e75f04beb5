#!/bin/sh
# foreign.sh ARCH COMMAND…: runs COMMAND as root where programs for ARCH (Debian's name) run too, by QEMU's user emulation.
#
# Who knows the interpreter of a foreign program is binfmt_misc, and since Linux 6.7 each user namespace may have one of
# its own: so this machine's stays as it is, and what is registered here ends with COMMAND. In the namespace everybody is
# who they were (0 is 0, 1000 is 1000): the files that root makes there are root's here. It has a mount and a pid namespace
# too. Where the machine itself runs such programs, nothing of this is needed, nor done. 77: it cannot be done here.
set -eu
arch=$1
shift
case $arch in arm64) name=aarch64 ;; amd64) name=x86_64 ;; *) name=$arch ;; esac
[ "$(uname -m)" != "$name" ] && [ ! -e "/proc/sys/fs/binfmt_misc/qemu-$name" ] || exec "$@"
emulator=$(command -v "qemu-$name-static" || command -v "qemu-$name") ||
    { echo "qemu-$name is missing (package qemu-user-static)" >&2; exit 77; }
rule=$(sed 's/:[^:]*:[^:]*$//' "/usr/lib/binfmt.d/qemu-$name.conf" 2>/dev/null) && [ -n "$rule" ] ||
    { echo "/usr/lib/binfmt.d/qemu-$name.conf does not say how such programs begin (package qemu-user-binfmt)" >&2; exit 77; }

# A map is written from outside, and before the exec that is to keep its power: so somebody sleeps in the namespace first.
unshare --user setpriv --pdeathsig KILL sleep infinity &
sleeper=$!
trap 'kill $sleeper 2>/dev/null || true' EXIT
trap 'exit 143' INT TERM HUP
until [ "$(readlink "/proc/$sleeper/ns/user")" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.05; done
echo '0 0 4294967295' >"/proc/$sleeper/uid_map"
echo '0 0 4294967295' >"/proc/$sleeper/gid_map"
# O, C, F: the emulator is opened now, so that a chroot need not hold it, and sudo in there is as mighty as without it.
# shellcheck disable=SC2016  # it is the inner shell's
nsenter --user --target "$sleeper" --setuid 0 --setgid 0 unshare --mount --pid --fork --kill-child sh -ec '
    rule=$1
    shift
    mount -t proc proc /proc
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
        { echo "this kernel has no binfmt_misc of our own for us: it takes Linux 6.7 and CONFIG_BINFMT_MISC" >&2; exit 77; }
    echo "$rule" >/proc/sys/fs/binfmt_misc/register
    exec "$@"
' sh "$rule:$emulator:OCF" "$@"
