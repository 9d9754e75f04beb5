#!/bin/sh
# build.sh RELEASE FOLDER [ARCH]: makes FOLDER/{disk.raw,vmlinuz,initrd}, a Debian like the students' machine. ARCH, amd64
# or arm64, is this machine's if it is not given; another one's programs run by foreign.sh.
#
# systemd, cgroup v2, AppArmor, the stock cloud kernel, the user vagrant; no KVM, loop device or mount outlives it.
# setup.sh runs here too, in a chroot: compiling and unpacking would take ten times as long in an emulated guest. There
# the provisioning then does what `vagrant provision` does: it finds the packages and .venv as they should be.
# Needs root and Debian's mmdebstrap, e2fsprogs, cpio, kmod. Exits with 77 when it cannot be made here, which is no fault of its own.
# With LABRT_VM_TREE set, FOLDER/root is left instead of the disk, with LABRT_VM_PACKAGES in it too (for box.sh).
set -eu
umask 022
release=$1 folder=$2
case $(uname -m) in x86_64) native=amd64 ;; aarch64) native=arm64 ;; *) native=$(uname -m) ;; esac
arch=${3:-$native}
case $arch in amd64 | arm64) ;; *) echo "no cloud kernel for $arch" >&2; exit 77 ;; esac
if [ "$arch" != "$native" ] && [ -z "${LABRT_VM_FOREIGN:-}" ]; then
    LABRT_VM_FOREIGN=1 exec sh "$(dirname -- "$0")/foreign.sh" "$arch" sh "$0" "$@"
fi
cd -P -- "$(dirname -- "$0")/../.."
rm -rf "$folder.new"
mkdir -p "$folder.new" "${folder%/*}/pip"
folder=$folder.new
root=$folder/root

packages=$(sed -n 's/^\(test_\)\{0,1\}packages="\(.*\)"/\2/p' labrt/setup.sh | tr '\n' ' ')
system="systemd systemd-sysv libpam-systemd dbus dbus-user-session udev kmod sudo procps iproute2 iputils-ping nftables
    iptables apparmor uidmap btrfs-progs xfsprogs e2fsprogs dmsetup thin-provisioning-tools rsync less strace"
# shellcheck disable=SC2086  # lists of words
sh tests/vm/debian.sh "$release" "$root" "$arch" $system $packages ${LABRT_VM_PACKAGES:-}

# What the machine is ---------------------------------------------------------------------------------------------------

echo labrt >"$root/etc/hostname"
printf '127.0.0.1 localhost labrt\n' >"$root/etc/hosts"
echo '/dev/vda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
chroot "$root" useradd --create-home --shell /bin/bash --groups sudo vagrant
echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/vagrant"
printf '[Match]\nType=ether\nKernelCommandLine=labrt.job\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n' >"$root/etc/systemd/network/10-card.network"
sed -i 's/^KernelCommandLine.*//; s/^Type=ether/Name=eth0/' "$root/etc/systemd/network/10-card.network"  # labrt's own veths are none of its business
units=$root/etc/systemd/system
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
    systemd-networkd-wait-online.service; do
    ln -sf /dev/null "$units/$unit"
done
install -m 755 tests/vm/job.sh "$root/usr/local/sbin/labrt-job"
cp tests/vm/labrt-job.service "$units/"
mkdir -p "$units/multi-user.target.wants"
ln -sf ../labrt-job.service "$units/multi-user.target.wants/"
ln -sf /usr/lib/systemd/system/systemd-networkd.service "$units/multi-user.target.wants/"

# Certificates of a proxy that this machine trusts are trusted there.
for file in /usr/local/share/ca-certificates/*.crt; do
    [ ! -e "$file" ] || cp "$file" "$root/usr/local/share/ca-certificates/"
done
chroot "$root" update-ca-certificates >/dev/null 2>&1

# An emulated apt that has put its power away does not find gpgv.
[ "$arch" = "$native" ] || echo 'APT::Sandbox::User "root";' >"$root/etc/apt/apt.conf.d/99foreign"

# The kernel: unpacked, not installed; its package would make a boot loader and a large initrd, which take minutes to load under emulation.
rm -f "$root/etc/resolv.conf"  # a link, where systemd-resolved is
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get -qq update
kernel=$(chroot "$root" apt-cache depends "linux-image-cloud-$arch" | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1)
(chroot "$root" sh -c "cd /tmp && apt-get -qq -o APT::Sandbox::User=root download $kernel")
dpkg-deb --fsys-tarfile "$root"/tmp/linux-image-*.deb | tar -x --keep-directory-symlink -C "$root"
rm -f "$root"/tmp/*.deb
version=$(ls "$root/usr/lib/modules")
depmod -b "$root" "$version"
cp "$root/boot/vmlinuz-$version" "$folder/vmlinuz"

# What setup.sh makes ---------------------------------------------------------------------------------------------------

mkdir -p "$root/vagrant" "$root/pip"
git ls-files -z labrt pyproject.toml README.md LICENSE | tar -c --null -T - | tar -x -C "$root/vagrant"
# In namespaces of its own: whatever is mounted there ends with it.
unshare --mount --pid --uts --ipc --fork sh -ec '
    root=$1
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    mount --bind "$2" "$root/pip"
    exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PIP_CACHE_DIR=/pip PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
        ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} sh /vagrant/labrt/setup.sh test --version
' sh "$root" "${folder%/*}/pip"
rmdir "$root/pip"
rm -f "$root/etc/apt/apt.conf.d/99foreign"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"  # the resolver of QEMU's user network

# The initrd: busybox and the modules that reach the disk -------------------------------------------------------------------

ird=$folder/ird
mkdir -p "$ird/bin" "$ird/dev" "$ird/proc" "$ird/sys" "$ird/root" "$ird/m"
cp "$root/bin/busybox" "$ird/bin/"
number=10
for module in virtio_pci virtio_blk virtio_console ext4; do
    modprobe -S "$version" -d "$root" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r file; do
    case $file in
        *.xz) xz -dc "$file" ;;
        *.zst) zstd -qdc "$file" ;;
        *) cat "$file" ;;
    esac >"$ird/m/$number.ko"
    number=$((number + 1))
done
cat >"$ird/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
$b mount -t proc proc /proc
for word in $($b cat /proc/cmdline); do case $word in root=*) disk=${word#root=} ;; esac; done
$b umount /proc
for module in /m/*.ko; do $b insmod $module; done
tries=0
until [ -b $disk ] || [ $tries -ge 200 ]; do $b sleep 0.1; tries=$((tries + 1)); done
$b mount -t ext4 -o noatime $disk /root && exec $b switch_root /root /sbin/init
echo "labrt: no disk"; $b poweroff -f
INIT
chmod 755 "$ird/init"
(cd "$ird" && find . | cpio -o -H newc --quiet) >"$folder/initrd"

if [ -z "${LABRT_VM_TREE:-}" ]; then
    truncate -s 6G "$folder/disk.raw"
    mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$folder/disk.raw"
    rm -rf --one-file-system "$root"
fi
rm -rf --one-file-system "$ird" "${folder%.new}"
mv "$folder" "${folder%.new}"
