#!/bin/sh
# Starts the server, waits until it is ready, prints the address last, and passes Ctrl-C on.
set -eu
echo "starting the server"
"$BIN/bentoml" serve service:Cifar --host 127.0.0.1 --port "$PORT" &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server' INT TERM
for _ in $(seq 240); do
    kill -0 "$server" 2>/dev/null || { wait "$server"; exit 1; }
    if "$BIN/python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$PORT/readyz', timeout=1)" 2>/dev/null; then
        echo "ready: http://127.0.0.1:$PORT (page: http://127.0.0.1:$PORT/ui/)"
        break
    fi
    sleep 0.25
done
wait "$server"
