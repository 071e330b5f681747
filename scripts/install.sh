#!/bin/sh
# Makes the virtual environment and installs the locked requirements, whole or not at all.
set -eu
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
case "$version" in
    3.11 | 3.12) ;;
    *) echo "error: Python 3.11 or 3.12 is needed, $PYTHON is $version; try: make PYTHON=python3.11 ..." >&2; exit 1 ;;
esac
echo "making the environment in $VENV with Python $version (about a minute, 3.4 GB)"
rm -f "$VENV/.ready"
"$PYTHON" -m venv "$VENV" || { echo "error: the venv module is missing; on Debian: apt install python3-venv" >&2; exit 1; }
log="$VENV/install.log"
# uv installs the set in seconds where pip takes minutes; its version is fixed by hash like all others. Compiling takes
# half a minute once: without it, each process that may not write bytecode takes 12 s instead of 5 to import TensorFlow.
if ! { "$VENV/bin/pip" install --disable-pip-version-check -q --require-hashes --only-binary :all: -r requirements-uv.lock &&
    "$VENV/bin/uv" pip install -q --compile-bytecode --python "$VENV/bin/python" --require-hashes --only-binary :all: -r requirements.lock; } \
    >"$log" 2>&1; then
    echo "error: the requirements could not be installed (no network, or no prebuilt wheel for this machine):" >&2
    { grep -i -m 1 "error" "$log" || tail -n 1 "$log"; } >&2
    echo "the whole log: $log" >&2
    exit 1
fi
touch "$VENV/.ready"
