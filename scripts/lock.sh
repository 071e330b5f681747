#!/bin/sh
# Compiles the lock files from requirements.txt: everything, what the Bento carries, and the installer itself.
set -eu
uv=$1
options="--universal --python-version 3.11 --generate-hashes --no-header -q"
"$uv" pip compile $options -o requirements.lock requirements.txt
awk '/^#: /{keep = $2 == "serving" || $2 == "page"} keep' requirements.txt |
    "$uv" pip compile $options -c requirements.lock -o requirements-serving.lock -
echo "uv==0.13.9" | "$uv" pip compile $options -o requirements-uv.lock -
