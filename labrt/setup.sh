#!/bin/sh
# The one way to set a machine up for labrt: README, Vagrantfile and .ci/run call this, and nothing else.
#
# It writes to .venv in the checkout, to /var/lib/labrt, and through apt; removing labrt is `rm -rf` of the first two.
# Run it as often as you like: what is there already is left alone, and what a killed run left half-made is made anew.
# POSIX sh, because that is all a fresh machine has.
set -eu
umask 022  # under sudo with a tighter one, the student could not read what root installs

usage() {
    cat <<'END'
usage: sudo sh labrt/setup.sh COMMAND [ARGUMENTS]

  demo      install, then pull a real image, run it and take it down, step by step
  lab       install, then open the course in JupyterLab on http://127.0.0.1:8888 (the URL it prints holds the token)
  test      install, with the test tools, then run the whole suite; ARGUMENTS go to pytest
  install   only install
  service   install, then keep JupyterLab running as a service of systemd; prints its URL (in virtual machines)

environment
  LABRT_PYTHON   the Python to use (default: /usr/bin/python3, the distribution's own)
  LABRT_IP       the address that `lab` listens on (default: 127.0.0.1; `route`: that of the card with the default route)
  LABRT_PORT     the port that `service` names in its URL, where it is forwarded (default: 8888)
  LABRT_MIRROR   a mirror of Docker Hub for all that labrt pulls here (http://192.168.1.5:5000); `service` remembers it
  PIP_*, http_proxy, https_proxy …   are heard by pip and apt, as always (sudo drops them without -E)
END
}

say() { printf 'labrt: %s\n' "$*"; }
die() { printf 'labrt: %s\n' "$*" >&2; exit 1; }

python=${LABRT_PYTHON:-/usr/bin/python3}

# python3, -venv      the interpreter, and what makes .venv with it
# python3-dev, gcc, libc6-dev, libcap-dev    python-prctl has no wheel: it is compiled here
# libseccomp2         turns rules into a BPF program; pyseccomp loads it
# busybox-static      the embedded default image is made of it: a container without any network
# tini                a static init, for `labrt run --init`
# fuse3, btrfs-progs  what the storage drivers aufs and btrfs are made with
# nftables            nft: the rules of bridges and published ports, in tables of labrt's own
# passt, uidmap       what an ordinary user's containers have in place of a bridge, and their subordinate ids
# ca-certificates     registries and PyPI are behind TLS
packages="python3 python3-venv python3-dev gcc libc6-dev libcap-dev libseccomp2 busybox-static tini ca-certificates fuse3 btrfs-progs nftables passt uidmap"
# runc, crun, skopeo  the tests ask them whether labrt's bundles and images are right
# slirp4netns         an ordinary user's network where there is no pasta
test_packages="runc crun skopeo slirp4netns"

# What this machine must be --------------------------------------------------------------------------------------------

check_root() {
    [ "$(id -u)" -eq 0 ] || die "needs root, to install packages and to make containers: sudo sh labrt/setup.sh $command"
}

check_apt() {
    for tool in apt-get dpkg-query; do
        command -v "$tool" >/dev/null ||
            die "$tool is missing: labrt sets itself up on Debian 12 and 13 and on Ubuntu 24.04"
    done
}

check_kernel() {
    release=$(uname -r)
    major=${release%%.*}
    minor=${release#*.}
    minor=${minor%%[!0-9]*}
    [ "$major" -gt 5 ] || { [ "$major" -eq 5 ] && [ "$minor" -ge 12 ]; } ||
        die "Linux $release is too old: mount_setattr(2), and so labrt, needs 5.12 or newer"
    for kind in user mnt pid net uts ipc; do
        [ -e "/proc/self/ns/$kind" ] || die "this kernel has no $kind namespaces (or /proc is not mounted)"
    done
    grep -q cgroup /proc/filesystems || die "this kernel has no cgroups"
    # Root in a container often may not do what the kernel could.
    unshare --mount --pid --net --uts --ipc --fork mount -t tmpfs labrt /tmp 2>/dev/null ||
        die "root may make no namespaces and mounts here: use a virtual machine, or a privileged container"
}

check_python() {
    [ -x "$python" ] || die "no Python at $python: LABRT_PYTHON must be the absolute path of one"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$("$python" -V) at $python is too old: labrt needs 3.11 (set LABRT_PYTHON to a newer one)"
}

# Packages of the distribution -----------------------------------------------------------------------------------------

missing() {
    for package; do
        case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) in
            installed*) ;;
            *) printf ' %s' "$package" ;;
        esac
    done
}

apt_get() {
    # A machine that has just booted is often updating itself: wait for dpkg's lock. Without a terminal nobody can
    # answer questions; needrestart (Ubuntu) would restart services that are none of our business. Descriptor 9 is
    # setup's lock: a daemon that a package starts would inherit it, and hold it for ever.
    LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >/dev/null 9>&-
}

apt_update() {
    # DPkg::Lock::Timeout does not cover the lock on the lists. A broken list of somebody else's need not stop us.
    for wait in 5 10 20 40 0; do
        apt_get update && return
        [ "$wait" -eq 0 ] || say "apt-get update failed: trying again in $wait seconds"
        sleep "$wait"
    done
    say "going on with the lists that are here"
}

install_packages() {
    needed=$(missing "$@")
    [ -n "$needed" ] || return 0
    say "installing packages:$needed"
    dpkg --configure -a </dev/null >/dev/null 9>&-  # ends what a killed dpkg began; without it apt-get refuses to work
    apt_update
    # shellcheck disable=SC2086  # a list of words
    apt_get install --yes --no-install-recommends $needed ||
        die "apt-get could not install$needed: its reason is above"
}

# The virtual environment ----------------------------------------------------------------------------------------------
#
# The stamp is written last. Its three lines say by what Python and where .venv was made, from which pyproject.toml and
# setup.sh, and with which extras. No stamp: .venv is half-made, or somebody else's. Other first line: it cannot work
# any more (scripts in it hold absolute paths). Other second line: it wants an update.

read_stamp() {
    was_made='' was_from='' was_extras=''
    if [ -f .venv/labrt-setup ]; then
        { IFS= read -r was_made && IFS= read -r was_from && IFS= read -r was_extras; } <.venv/labrt-setup || was_made=''
    fi
    made="$("$python" -c 'import sys; print(sys.executable, "%d.%d" % sys.version_info[:2])') $PWD"
    from=$(cat pyproject.toml labrt/setup.sh | sha256sum)
}

environment_ready() {
    read_stamp
    [ "$made" = "$was_made" ] && [ "$from" = "$was_from" ] || return 1
    case $was_extras in "$extras" | lab,test) ;; *) return 1 ;; esac
}

install_environment() {
    rm -f .venv/labrt-setup
    if [ "$made" != "$was_made" ]; then
        say "making .venv with $("$python" -V)"
        "$python" -m venv --clear .venv
        # Debian's pip writes scripts that import `re` before anything else; every command would begin 4 ms later.
        .venv/bin/python -m pip install --quiet --upgrade 'pip>=25.2' || die "pip could not be updated: see above"
        # Before Python 3.12 an environment has setuptools, which looks on at every start of Python for half a ms.
        .venv/bin/python -m pip uninstall --quiet --yes setuptools 2>/dev/null
    fi
    [ "$was_extras" != lab,test ] || extras=lab,test  # who came to test keeps the test tools
    say "installing labrt[$extras] into .venv (a few minutes the first time)"
    .venv/bin/python -m pip install --quiet --use-pep517 --editable ".[$extras]" ||
        die "pip could not install labrt[$extras]: its reason is above"
    # Python keeps what it has compiled beside the source, if it may write there: not as a student's user, so now.
    .venv/bin/python -m compileall -q labrt
    rm -rf labrt.egg-info  # setuptools' scratch paper; .venv knows labrt by its own dist-info
    [ "$extras" = lab ] || { install_registry; install_docker; }
    install_redis
    printf '%s\n' "$made" "$from" "$extras" >.venv/labrt-setup.new
    sync .venv/labrt-setup.new
    mv .venv/labrt-setup.new .venv/labrt-setup
}

install_registry() {
    # Debian's package would start a registry open to the whole network on port 5000. The tests want only the program
    # (and start it on 127.0.0.1 themselves), so it is unpacked into .venv, not installed.
    ! command -v docker-registry >/dev/null || return 0
    say "unpacking docker-registry into .venv"
    rm -rf .venv/registry
    mkdir .venv/registry
    fetch_registry || { apt_update && fetch_registry; } || die "apt-get could not download docker-registry"
    dpkg-deb -x .venv/registry/*.deb .venv/registry
    rm .venv/registry/*.deb
    ln -sf ../registry/usr/bin/docker-registry .venv/bin/docker-registry
}

fetch_registry() {
    # Only root may write to .venv, so apt's own unprivileged user cannot do the download.
    (cd .venv/registry && apt_get -o APT::Sandbox::User=root download docker-registry)
}

install_docker() {
    # The tests speak to `labrt daemon` with the real docker. Debian's package would start dockerd: so only the program.
    ! command -v docker >/dev/null || return 0
    say "unpacking docker's command line into .venv"
    rm -rf .venv/docker
    mkdir .venv/docker
    fetch_docker || { apt_update && fetch_docker; } || die "apt-get could not download docker-cli or docker.io"
    dpkg-deb -x .venv/docker/*.deb .venv/docker
    rm .venv/docker/*.deb
    ln -sf ../docker/usr/bin/docker .venv/bin/docker
}

fetch_docker() {
    # Debian 13 has the client in a package of its own.
    (cd .venv/docker && { apt_get -o APT::Sandbox::User=root download docker-cli 2>/dev/null ||
        apt_get -o APT::Sandbox::User=root download docker.io; })
}

install_redis() {
    # The last notebook runs redis. Where Docker Hub does not answer, its image is made of Debian's programs; Debian's
    # package would start a server, so it is unpacked. Without it the notebook has two sections less.
    [ ! -x .venv/redis/usr/bin/redis-server ] && ! command -v redis-server >/dev/null || return 0
    say "unpacking redis into .venv"
    rm -rf .venv/redis
    mkdir .venv/redis
    fetch_redis || { apt_update && fetch_redis; } || { say "apt has no redis: notebook 21 wants Docker Hub"; return 0; }
    for package in .venv/redis/*.deb; do dpkg-deb -x "$package" .venv/redis; done
    rm .venv/redis/*.deb
}

fetch_redis() {
    # With the libraries that are not here yet: what apt would install.
    # shellcheck disable=SC2086  # a list of words
    (cd .venv/redis && wanted=$(apt-get -s install --no-install-recommends redis-server 2>/dev/null |
        sed -n 's/^Inst \([^ ]*\).*/\1/p') && [ -n "$wanted" ] &&
        apt_get -o APT::Sandbox::User=root download $wanted)
}

# Everything together --------------------------------------------------------------------------------------------------

install_all() {
    # shellcheck disable=SC2086  # lists of words
    case $extras in
        lab) install_packages $packages ;;
        *) install_packages $packages $test_packages ;;
    esac
    check_python
    if environment_ready; then
        say "everything is installed, nothing to do"
    else
        install_environment
    fi
    .venv/bin/python -m labrt.engine.embedded
}

install_alone() {
    # One installation at a time. The kernel drops the lock when its last holder ends: a kill leaves none behind, and
    # where only the shell was killed, a pip that goes on without it still holds the next setup back.
    exec 9>/var/lib/labrt/setup.lock
    flock --nonblock 9 || { say "another setup is at work: waiting for it" && flock 9; }
    install_all
    exec 9>&-
}

# JupyterLab as a service -----------------------------------------------------------------------------------------------

route_address() {
    # Nothing is sent: the kernel only says from which address it would be (192.0.2.0/24 is nobody's).
    ip -4 -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p'
}

write_if_changed() {
    # A file whose text is on stdin; succeeds when it was not so already.
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then rm "$1.new"; return 1; fi
    mv "$1.new" "$1"
}

remember_mirror() {
    # For who types labrt, with sudo or without, and (by its unit) for JupyterLab. Not given: it stays as it was.
    if [ -z "${LABRT_MIRROR:-}" ]; then
        [ ! -f /etc/labrt.conf ] || export "$(cat /etc/labrt.conf)"
        return 0
    fi
    ! echo "LABRT_MIRROR=$LABRT_MIRROR" | write_if_changed /etc/labrt.conf || stale=1
    echo "export LABRT_MIRROR='$LABRT_MIRROR'" >/etc/profile.d/labrt.sh
    if [ -d /etc/sudoers.d ]; then
        echo 'Defaults env_file = /etc/labrt.conf' >/etc/sudoers.d/labrt
        chmod 440 /etc/sudoers.d/labrt
    fi
}

fetch_images() {
    # What the course pulls, so that it works offline afterwards. No hub is no failure: the embedded default is used.
    # After the service is up: where packets to the hub are dropped, this takes its time at every start of the machine.
    for image in alpine:latest busybox:latest; do
        .venv/bin/labrt images --quiet "$image" 2>/dev/null | grep -q . && continue
        why=$(timeout 90 .venv/bin/labrt pull "$image" 2>&1 >/dev/null) && continue
        say "$image is not fetched, the embedded busybox serves: ${why:-no registry answers in 90 seconds}"
        return 0
    done
}

serve() {
    command -v systemctl >/dev/null && [ -d /run/systemd/system ] || die "no systemd runs here: sudo sh labrt/setup.sh lab"
    mkdir -p /var/lib/labrt/lab
    if [ ! -s /var/lib/labrt/lab/token ]; then
        (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >/var/lib/labrt/lab/token.new)
        mv /var/lib/labrt/lab/token.new /var/lib/labrt/lab/token
    fi
    stale=''
    remember_mirror
    ! sed "s|@|$PWD|" labrt/labrt-lab.service | write_if_changed /etc/systemd/system/labrt-lab.service || stale=1
    ln -sf "$PWD/.venv/bin/labrt" /usr/local/bin/labrt
    systemctl daemon-reload
    systemctl enable --quiet labrt-lab.service
    if [ -n "$stale" ]; then systemctl restart labrt-lab.service; else systemctl start labrt-lab.service; fi
    fetch_images
    say "http://127.0.0.1:${LABRT_PORT:-8888}/lab?token=$(cat /var/lib/labrt/lab/token)"
}

command=${1:-}
[ $# -eq 0 ] || shift
extras=lab
case $command in
    demo | lab | install | service) ;;
    test) extras=lab,test ;;
    help | -h | --help) usage; exit 0 ;;
    '') usage >&2; exit 2 ;;
    *) printf 'labrt: unknown command: %s\n' "$command" >&2; usage >&2; exit 2 ;;
esac

CDPATH='' cd -P -- "$(dirname -- "$0")/.."
[ -f pyproject.toml ] || die "setup.sh belongs in a checkout of labrt: no pyproject.toml in $PWD"
case $python in /*) ;; *) die "LABRT_PYTHON is $python: it must be an absolute path" ;; esac
check_root
check_apt
check_kernel
[ ! -x "$python" ] || check_python  # before anything is installed, where that can be
mkdir -p /var/lib/labrt/cache
export PIP_CACHE_DIR="${PIP_CACHE_DIR:-/var/lib/labrt/cache/pip}" PIP_DISABLE_PIP_VERSION_CHECK=1
install_alone

PATH=$PWD/.venv/bin:$PATH
# Widgets' callbacks run one after the other, as notebooks expect, and not beside the cells.
settings=.venv/share/jupyter/lab/settings
mkdir -p $settings
echo '{"@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"}}' >$settings/overrides.json
case $command in
    demo) exec .venv/bin/python -m labrt.lab.demo "$@" ;;
    test) exec .venv/bin/python -m pytest "$@" ;;
    service) serve ;;
    lab)
        # Jupyter's and IPython's own files would go to the home directory of whoever typed sudo.
        lab=/var/lib/labrt/lab
        [ "${LABRT_IP:-}" != route ] || LABRT_IP=$(route_address)
        export JUPYTER_CONFIG_DIR=$lab/config JUPYTER_DATA_DIR=$lab/data JUPYTER_RUNTIME_DIR=$lab/runtime IPYTHONDIR=$lab/ipython
        export JUPYTERLAB_SETTINGS_DIR=$lab/settings JUPYTERLAB_WORKSPACES_DIR=$lab/workspaces
        # Nor shall it look for language servers: that runs npm, where there is one, which leaves its own files there.
        exec .venv/bin/python -m jupyterlab --allow-root --no-browser --ServerApp.root_dir=notebooks \
            --ServerApp.ip="${LABRT_IP:-127.0.0.1}" --ServerApp.port=8888 --LanguageServerManager.autodetect=False "$@" ;;
esac
