#!/bin/sh
# Copies database, photos, MLflow and models below CIFAR_VAR into a new folder, while the service goes on.
# usage: sh deploy/backup.sh VAR FOLDER
set -eu
if [ $# -ne 2 ] || [ ! -d "$1" ]; then echo "usage: sh deploy/backup.sh VAR FOLDER" >&2; exit 2; fi
var=$1 to=$2 part=$2.part
if [ -e "$to" ]; then echo "error: $to exists" >&2; exit 2; fi
rm -rf "$part"
mkdir -p "$part"
# Databases first: a photo is on disk before its row is, so every row copied here has its photo among the files below.
for name in feedback mlflow; do
    [ -f "$var/$name.db" ] || continue
    python3 -c 'import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60)
database.execute("VACUUM INTO ?", (sys.argv[2],))' "$var/$name.db" "$part/$name.db"
done
set --
for name in images mlflow-artifacts bentoml/models spool; do
    [ ! -d "$var/$name" ] || set -- "$@" "$name"
done
# tar says 1 when a file changed or went meanwhile, as one does that was sent to MLflow or purged.
[ $# -eq 0 ] || tar -C "$var" --warning=no-file-changed --warning=no-file-removed -cf "$part/files.tar" "$@" || [ $? -eq 1 ]
(cd "$part" && sha256sum -- *) >"$part.sums"
mv "$part.sums" "$part/SHA256SUMS"
mv "$part" "$to"
echo "backed up to $to"
