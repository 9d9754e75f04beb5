#!/bin/sh
# What vagrant_up.sh does in its own Debian, whose network begins empty. Ends with the first thing that is wrong.
set -eu
say() { printf '\n== %s\n' "$*"; }
die() { printf 'labrt: %s\n' "$*" >&2; exit 1; }
shown() {  # FILE COMMAND: what it says is shown and kept; a pipe alone would lose its status
    kept=$1
    shift
    { "$@" 2>&1 || echo $? >/run/failed; } | tee "$kept"
    [ ! -e /run/failed ] || die "$* ended with $(cat /run/failed)"
}

# libvirtd as it can be without systemd, polkit and cgroups; nobody else can reach its socket.
sed -i 's/^#*auth_unix_r\([wo]\) =.*/auth_unix_r\1 = "none"/' /etc/libvirt/libvirtd.conf
printf '%s\n' 'user = "root"' 'group = "root"' 'security_driver = "none"' 'cgroup_controllers = []' 'namespaces = []' 'seccomp_sandbox = 0' \
    >>/etc/libvirt/qemu.conf
mkdir -p /run/libvirt /var/log/libvirt
ip link set lo up
virtlogd --daemon
libvirtd --daemon
tries=0
until virsh --quiet version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 150 ] || die "libvirtd does not answer"
    sleep 0.2
done

say "a mirror"
# In memory, and of one image under the two names that the course pulls.
cat >/run/mirror.yml <<'END'
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /run/mirror}}
http: {addr: ":5000"}
END
docker-registry serve /run/mirror.yml >/run/mirror.log 2>&1 &
tries=0
until curl -sf http://127.0.0.1:5000/v2/ >/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 150 ] || die "the mirror does not answer: $(cat /run/mirror.log)"
    sleep 0.2
done
(cd /project && LABRT_ROOT=/run/labrt python3 -m labrt.engine.embedded)
for name in alpine busybox; do
    skopeo copy --insecure-policy --dest-tls-verify=false oci:/run/labrt/lib/cache/embedded:docker.io/library/busybox:latest "docker://127.0.0.1:5000/library/$name:latest"
done

cd /project
export VAGRANT_DEFAULT_PROVIDER=libvirt LABRT_BOX=labrt LABRT_BOX_URL=/box/labrt.box LABRT_MIRROR=http://192.168.121.1:5000

say "vagrant up"
vagrant validate
shown /run/up vagrant --no-tty up
url=$(sed -n 's/.*labrt: \(http:.*token=[0-9a-f]*\).*/\1/p' /run/up | tail -n 1)
[ -n "$url" ] || die "up did not end with JupyterLab's URL"
! grep -q "is not fetched" /run/up || die "the mirror was not used"

say "vagrant ssh -c 'sudo labrt doctor'"
shown /run/doctor vagrant --no-tty ssh -c 'sudo labrt doctor'
! grep -Eq ' (fail|warn) ' /run/doctor || die "the doctor is not content"
grep -q 'mirror' /run/doctor || die "the doctor did not ask the mirror"

say "JupyterLab through the forwarded port"
contents=${url%%/lab*}/api/contents
tries=0
until [ "$(curl -s -o /dev/null -w '%{http_code}' "$contents?${url#*\?}")" = 200 ]; do
    tries=$((tries + 1))
    [ $tries -lt 120 ] || die "$contents does not answer with the token"
    sleep 5
done
[ "$(curl -s -o /dev/null -w '%{http_code}' "$contents")" = 403 ] || die "$contents wants no token"
! curl -s -m 5 -o /dev/null http://192.168.121.1:8888 || die "the forwarded port is open to more than this machine"

say "vagrant provision, once more"
before=$(vagrant ssh -c 'systemctl show -p MainPID --value labrt-lab')
shown /run/again vagrant --no-tty provision
grep -qF "$url" /run/again || die "another URL than before"
[ "$(vagrant ssh -c 'systemctl show -p MainPID --value labrt-lab')" = "$before" ] || die "provisioning restarted JupyterLab"

say "vagrant destroy"
vagrant destroy --force
[ -z "$(virsh --quiet list --all)" ] || die "destroy has left: $(virsh list --all)"
