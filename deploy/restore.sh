#!/bin/sh
# Puts a backup into a folder CIFAR_VAR that has no database yet. Stop the service before, start it after.
# usage: sh deploy/restore.sh FOLDER VAR
set -eu
if [ $# -ne 2 ] || [ ! -f "$1/SHA256SUMS" ]; then echo "usage: sh deploy/restore.sh FOLDER VAR" >&2; exit 2; fi
from=$1 var=$2
for name in feedback mlflow; do
    if [ -e "$var/$name.db" ]; then echo "error: $var/$name.db exists; move it away first" >&2; exit 2; fi
done
if ! (cd "$from" && sha256sum --quiet --check SHA256SUMS) >&2; then
    echo "error: $from is damaged; nothing was restored" >&2
    exit 1
fi
mkdir -p "$var"
[ ! -f "$from/files.tar" ] || tar -C "$var" -xf "$from/files.tar"
for name in feedback mlflow; do
    [ ! -f "$from/$name.db" ] || cp "$from/$name.db" "$var/$name.db"
done
echo "restored to $var"
