#!/bin/sh
# A box for those who have none, from Debian's packages alone: `sudo sh tests/vm/box.sh [--release trixie] labrt.box`
#
#   LABRT_BOX=labrt LABRT_BOX_URL=$PWD/labrt.box vagrant up --provider=libvirt
#
# It is the guest of build.sh with a boot loader and sshd: systemd, cgroup v2, AppArmor, Debian's cloud kernel. All that
# setup.sh installs is in it, so its first `up` needs no network. It is for libvirt on x86-64, with KVM or without. The cloud
# kernel has no drivers for VirtualBox, VMware and Parallels: those need another box of Debian 12, 13 or Ubuntu 24.04, and
# Apple silicon has labrt/lima.yaml. Takes some five minutes, and 5 GB in LABRT_VM_CACHE while it works.
#
# Its door is Vagrant's public key, which the first `up` replaces: found where Vagrant is installed; LABRT_VAGRANT_KEY names
# another file. Needs root, qemu-utils, and what run.sh needs. Exit status 77: it cannot be made here, and why.
set -eu
umask 022
release=bookworm
[ "${1:-}" != --release ] || { release=$2; shift 2; }
[ $# -eq 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
box=$(realpath "$1")
cd -P -- "$(dirname -- "$0")/../.."
cannot() { printf 'labrt: no box here: %s\n' "$*" >&2; exit 77; }

[ "$(id -u)" -eq 0 ] || cannot "building it needs root: sudo sh tests/vm/box.sh $box"
[ "$(uname -m)" = x86_64 ] || cannot "it is for x86-64; elsewhere use labrt/lima.yaml, or name a box by LABRT_BOX"
for tool in mmdebstrap:mmdebstrap mkfs.ext4:e2fsprogs cpio:cpio depmod:kmod xz:xz-utils zstd:zstd qemu-img:qemu-utils; do
    command -v "${tool%%:*}" >/dev/null || cannot "${tool%%:*} is missing (package ${tool#*:})"
done
key=${LABRT_VAGRANT_KEY:-$(find /usr/share /opt/vagrant -path '*keys/vagrant.pub' 2>/dev/null | head -n 1)}
[ -r "$key" ] || cannot "Vagrant's public key is not found: LABRT_VAGRANT_KEY must name the file keys/vagrant.pub of Vagrant"

cache=${LABRT_VM_CACHE:-/var/cache/labrt-vm}
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
tree=$cache/box-$release
root=$tree/root
trap 'rm -rf --one-file-system "$tree" "$tree.new" "$box.new"' EXIT
trap 'exit 143' INT TERM HUP
LABRT_VM_TREE=1 LABRT_VM_PACKAGES="openssh-server systemd-resolved grub-common grub-pc-bin fdisk" \
    sh tests/vm/build.sh "$release" "$tree" 9>&-

# What a box has more than the guest of the tests ----------------------------------------------------------------------

install -d -m 700 "$root/home/vagrant/.ssh"
install -m 600 "$key" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant/.ssh
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
sed -i 's|^/dev/vda |/dev/vda1 |' "$root/etc/fstab"
# No two machines share an identity: the keys of sshd and the machine's id are made at the first boot.
rm -f "$root"/etc/ssh/ssh_host_*
mkdir -p "$root/etc/systemd/system/ssh.service.d"
printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' \
    >"$root/etc/systemd/system/ssh.service.d/keys.conf"
: >"$root/etc/machine-id"

# The disk: GRUB before the first partition, where a BIOS looks for it; no loop device is needed to put it there ------------

cp "$tree/vmlinuz" "$root/boot/vmlinuz"
cp "$tree/initrd" "$root/boot/initrd"
mkdir -p "$root/boot/grub"
cat >"$root/boot/grub/grub.cfg" <<'END'
linux /boot/vmlinuz root=/dev/vda1 rw quiet console=tty0 console=ttyS0 net.ifnames=0
initrd /boot/initrd
boot
END
chroot "$root" grub-mkimage -O i386-pc -o /boot/grub/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 linux normal
truncate -s 20G "$root/disk.raw"
echo '2048,,L,*' | chroot "$root" sfdisk --quiet /disk.raw
mv "$root/disk.raw" "$tree/disk.raw"
# GRUB's own defaults fit: its first sector loads the one after it, which loads the rest.
dd if="$root/usr/lib/grub/i386-pc/boot.img" of="$tree/disk.raw" bs=440 count=1 conv=notrunc status=none
dd if="$root/boot/grub/core.img" of="$tree/disk.raw" bs=512 seek=1 conv=notrunc status=none
# Without two features that are younger than bookworm's GRUB.
mkfs.ext4 -q -F -O ^metadata_csum_seed,^orphan_file -E offset=1048576,lazy_itable_init=1,lazy_journal_init=1 -d "$root" \
    "$tree/disk.raw" $((20 * 1024 * 1024 - 1024))k

qemu-img convert -c -O qcow2 -o compression_type=zstd "$tree/disk.raw" "$tree/box.img"
echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 20}' >"$tree/metadata.json"
cat >"$tree/Vagrantfile" <<'END'
Vagrant.configure("2") do |config|
  emulated = ENV["LABRT_VM_ACCEL"] == "tcg" || !File.exist?("/dev/kvm")
  config.vm.boot_timeout = 1200 if emulated
  config.vm.provider "libvirt" do |machine|
    machine.graphics_type = machine.video_type = "none"
    machine.driver, machine.cpu_mode, machine.cpu_model, machine.machine_type = "qemu", "custom", "Nehalem", "pc" if emulated
  end
end
END
tar -c -f "$box.new" -C "$tree" metadata.json Vagrantfile box.img
mv "$box.new" "$box"
echo "labrt: LABRT_BOX=labrt LABRT_BOX_URL=$box vagrant up --provider=libvirt" >&2
