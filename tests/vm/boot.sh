#!/bin/sh
# boot.sh FOLDER PAYLOAD OUT: boots the guest of build.sh once, unpacks PAYLOAD (a tar) at its root, runs /vagrant/.job as
# root and exits with its status. Its output goes to stdout, its /out to OUT. 98: the guest ended without a status.
# What the boot writes to the disk is forgotten, unless LABRT_VM_KEEP is set (see run.sh). Environment: LABRT_CPUS, LABRT_MEMORY (MiB),
# LABRT_VM_SECONDS (limit), LABRT_VM_ACCEL (kvm or tcg; default: what works), LABRT_VM_MACHINE (the guest's, as uname -m says).
set -eu
folder=$1 payload=$2 out=$3
mkdir -p "$out"
work=$(mktemp -d "${TMPDIR:-/tmp}/labrt-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM HUP
machine=${LABRT_VM_MACHINE:-$(uname -m)}

base() {
    case $machine in
        x86_64) set -- -M pc "$@" ;;
        *) set -- -M virt "$@" ;;
    esac
    # It dies with this shell, even when that is killed outright.
    exec setpriv --pdeathsig KILL "qemu-system-$machine" -nodefaults -display none -monitor none -no-reboot \
        -smp "${LABRT_CPUS:-2}" -m "${LABRT_MEMORY:-2048}" -kernel "$folder/vmlinuz" "$@"
}

# /dev/kvm may be there and still not boot this kernel (nested virtualisation without what it needs): try, for ten seconds.
kvm_works() {
    [ -w /dev/kvm ] && [ "$machine" = "$(uname -m)" ] || return 1
    # `poweroff` of a kernel without a root: it panics, and panic=-1 ends QEMU; only a kernel that runs comes so far.
    (base -accel kvm -cpu host -serial "file:$work/probe" -append "console=ttyS0 console=ttyAMA0 panic=-1" </dev/null >/dev/null 2>&1) &
    probe=$!
    tries=0
    while kill -0 $probe 2>/dev/null && [ $tries -lt 10 ]; do sleep 1; tries=$((tries + 1)); done
    kill $probe 2>/dev/null || true
    wait $probe 2>/dev/null || true
    grep -q 'Kernel panic' "$work/probe" 2>/dev/null
}

accel=${LABRT_VM_ACCEL:-}
if [ -z "$accel" ]; then
    if kvm_works; then accel=kvm; else accel=tcg; fi
fi
case $accel-$machine in
    kvm-*) set -- -accel kvm -cpu host ;;
    tcg-x86_64) set -- -accel tcg,thread=multi,tb-size=512 -cpu Nehalem ;;  # fewer features, less to emulate
    *) set -- -accel tcg,thread=multi,tb-size=512 -cpu cortex-a72 ;;  # `max` signs each return address, at a great cost
esac
echo "labrt: booting the guest ($accel)" >&2

truncate -s %512 "$payload"
snapshot=on
[ -z "${LABRT_VM_KEEP:-}" ] || snapshot=off
: >"$work/status"
: >"$work/log"
console="$out/console.log"
base "$@" -initrd "$folder/initrd" -serial "file:$console" \
    -append "console=ttyS0 console=ttyAMA0 root=/dev/vda rw quiet loglevel=3 systemd.show_status=0 mitigations=off no_timer_check panic=-1 net.ifnames=0 labrt.job" \
    -drive "file=$folder/disk.raw,format=raw,if=virtio,snapshot=$snapshot,cache=unsafe" \
    -drive "file=$payload,format=raw,if=virtio,readonly=on" \
    -device virtio-rng-pci -netdev user,id=net,ipv6=off -device virtio-net-pci,netdev=net,romfile= \
    -device virtio-serial-pci \
    -chardev "file,id=log,path=$work/log" -device virtserialport,chardev=log,name=log \
    -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=status \
    -chardev "file,id=out,path=$work/out.tar" -device virtserialport,chardev=out,name=out </dev/null >&2 &
qemu=$!
trap 'kill $qemu 2>/dev/null || true; rm -rf "$work"' EXIT
# In the background, because a shell hears no signal while it waits for a program, but does while it waits for a job.
timeout --foreground "${LABRT_VM_SECONDS:-3600}" tail -q -n +1 -f --pid=$qemu "$work/log" &
wait $! || { echo "labrt: the time of ${LABRT_VM_SECONDS:-3600} seconds is over" >&2; kill $qemu; }
wait $qemu || true
cp "$work/log" "$out/log"
[ ! -s "$work/out.tar" ] || tar -x -f "$work/out.tar" -C "$out"
[ -s "$work/status" ] || { echo "labrt: the guest ended without a status; its console is in $console" >&2; exit 98; }
exit "$(cat "$work/status")"
