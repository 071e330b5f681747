#!/bin/sh
# `sh scripts/audit.sh PIP_AUDIT`: no package of requirements.lock has a known vulnerability, or scripts/audit-exceptions.txt says why it
# does not reach us. Ends with 1 for a vulnerability, 2 where nothing is known.
set -eu
cd "$(dirname "$0")/.."
answer=$(mktemp -d)
trap 'rm -rf "$answer"' EXIT
pip_audit=$1
set --
while read -r name _; do
    case "$name" in '#'* | '') ;; *) set -- "$@" --ignore-vuln "$name" ;; esac
done <scripts/audit-exceptions.txt
# Without --strict it calls a package clean that its database does not know, and all of them where that cannot be asked.
if "$pip_audit" -r requirements.lock --strict --require-hashes --disable-pip --progress-spinner off "$@" >"$answer/out" 2>"$answer/err"; then
    tail -n 1 "$answer/err"
    exit 0
fi
cat "$answer/out"
tail -n 1 "$answer/err" >&2
if grep -q "^Found " "$answer/err"; then
    echo "error: a vulnerability that scripts/audit-exceptions.txt does not explain" >&2
    exit 1
fi
echo "error: NOT AUDITED: the database of vulnerabilities could not be asked or does not know a package, so nothing is known; try where pypi.org answers" >&2
exit 2
