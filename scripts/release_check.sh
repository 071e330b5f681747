#!/bin/sh
# What a release must pass and CI has no time for, on a clean clone: licences, known vulnerabilities, and both commands on a
# Debian with nothing but python3, python3-venv and make. Needs root, debootstrap and the network; CIFAR_DATA_DIR for the data.
# TESTS is for work on this script: a command in place of `make test`, such as "make lint". It never ends well then.
set -eu
fail() { echo "error: $*" >&2; exit 1; }
cd "$(dirname "$0")/.."
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed; a release is a commit"
[ "$(id -u)" = 0 ] || fail "a bare Debian is made and entered by root only"
command -v debootstrap >/dev/null || fail "debootstrap is missing; on Debian: apt install debootstrap"
unshare --mount true || fail "this machine forbids mount namespaces, without which a bare Debian cannot be entered safely"
PYTHON=${PYTHON:-python3}
version=$("$PYTHON" version.py)
echo "checking $(git rev-parse --short HEAD), version $version"

place=$(mktemp -d)
trap 'rm -rf --one-file-system "$place"' EXIT
git clone -q . "$place/clone"

audit=
echo "== vulnerabilities: pip-audit over requirements.lock"
"$PYTHON" -m venv "$place/audit"
"$place/audit/bin/pip" install -q --disable-pip-version-check pip-audit==2.9.0
sh scripts/audit.sh "$place/audit/bin/pip-audit" || audit="the vulnerabilities are not settled: see above"

echo "== a bare Debian"
debian=$place/debian
unshare --mount debootstrap --variant=minbase --include=python3,python3-venv,make bookworm "$debian" >"$place/debootstrap.log" ||
    fail "debootstrap failed: $(tail -n 1 "$place/debootstrap.log")"
mv "$place/clone" "$debian/cifar"
cp /etc/resolv.conf /etc/hosts "$debian/etc/" # without hosts there is no localhost
mkdir -p "$debian/data" "$debian/etc/ssl/certs"
# The variables of pip, uv and certificates are this machine's way to the package index, not the project's.
env | grep -E '^(PIP|UV|SSL|REQUESTS|HTTPS?|https?|no|NO)_' | sed "s/'/'\\\\''/g; s/=\(.*\)/='\1'/; s/^/export /" >"$debian/network"
cat >"$debian/check" <<'INSIDE'
set -eu
. /network
cd /cifar
export HOME=/root LANG=C.UTF-8
[ -z "$(ls -A /data)" ] || export CIFAR_DATA_DIR=/data
echo "== make serve"
make serve PORT="$PORT" >/serve.log 2>&1 &
server=$!
for _ in $(seq 1200); do
    grep -q '^ready: ' /serve.log && break
    kill -0 $server 2>/dev/null || { cat /serve.log; exit 1; }
    sleep 1
done
grep '^ready: ' /serve.log
.venv/bin/python - "$PORT" <<'PYTHON'
import io, sys, httpx
from PIL import Image

photo = io.BytesIO()
Image.new("RGB", (64, 48), (30, 90, 200)).save(photo, "PNG")
answer = httpx.post(f"http://127.0.0.1:{sys.argv[1]}/classify", files={"image": photo.getvalue()}, timeout=60)
answer.raise_for_status()
print("answered:", answer.json()["label"])
PYTHON
kill -TERM $server
wait $server || true
echo "== licences of everything in requirements.lock"
.venv/bin/python scripts/sbom.py --licences
echo "== $TESTS"
eval "$TESTS"
INSIDE
shortened=${TESTS:-}
export PORT="${PORT:-3000}" TESTS="${TESTS:-make test}" CIFAR_DATA_DIR="${CIFAR_DATA_DIR:-}" debian
unshare --mount --pid --fork sh -eu -c '
    mount --make-rprivate /
    mount -t proc proc "$debian/proc"
    mount --rbind /dev "$debian/dev"
    mount --rbind /sys "$debian/sys"
    mount --bind /etc/ssl/certs "$debian/etc/ssl/certs"
    [ -z "$CIFAR_DATA_DIR" ] || mount --bind "$CIFAR_DATA_DIR" "$debian/data"
    exec chroot "$debian" env -i PATH=/usr/local/bin:/usr/bin:/bin PORT="$PORT" TESTS="$TESTS" sh /check'
[ -z "$audit" ] || fail "all else is well, but $audit"
[ -z "$shortened" ] || fail "all else is well, but \`$shortened\` is not \`make test\`"
[ "$version" != unreleased ] || fail "all is well, but CHANGELOG.md names no version yet"
echo "ready to be released: $version"
