#!/bin/sh
# debian.sh RELEASE ROOT ARCH PACKAGE…: makes a Debian for ARCH (amd64 or arm64) in the new folder ROOT, with these packages,
# from the mirrors that this machine's own apt uses, if it is a Debian; else from LABRT_VM_MIRROR, or mmdebstrap's. Exits
# with 77 when they do not answer.
set -eu
release=$1 root=$2 arch=$3
shift 3
list=$root.list
trap 'rm -f "$list" "$list.answer"' EXIT
ID='' VERSION_CODENAME=''
. /etc/os-release
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=${LABRT_VM_MIRROR:-}
if [ "$ID" = debian ] && [ -z "$mirror" ]; then
    apt-get indextargets --format "deb [signed-by=$keyring] \$(REPO_URI) \$(RELEASE) main" 'Created-By: Packages' |
        grep -E " $VERSION_CODENAME(-updates|-security)? main$" | sort -u | sed "s/ $VERSION_CODENAME/ $release/" >"$list"
    [ ! -s "$list" ] || mirror=$list
fi
# A mirror that is not there is no fault of what is built. The first one speaks for all.
case $mirror in
    "$list") there=$(sed -n '1s|.*\] \([^ ]*\)/ \([^ ]*\) .*|\1/dists/\2|p' "$list") ;;
    http*) there=$mirror/dists/$release ;;
    *) there=http://deb.debian.org/debian/dists/$release ;;
esac
/usr/lib/apt/apt-helper -o Acquire::Retries=2 -o APT::Sandbox::User=root download-file "$there/InRelease" "$list.answer" >&2 ||
    { echo "Debian's mirror has no answer at $there" >&2; exit 77; }
include=$(printf '%s,' "$@")
# Whether ARCH's programs run here is foreign.sh's business; where they do not, the first of them says so.
mmdebstrap --mode=root --architectures="$arch" --skip=check/qemu --variant=minbase --include="${include%,}" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$release" "$root" ${mirror:+"$mirror"}
