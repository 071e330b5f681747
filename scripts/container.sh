#!/bin/sh
# Builds the image of the Bento with what is there: Docker where its daemon answers, else Podman, else Buildah. TOOL chooses one,
# BASE the Debian underneath; OPTIONS go to the build, such as "--volume /etc/ssl/certs:/etc/ssl/certs:ro" behind a proxy.
set -eu
tool=${TOOL:-}
if [ -z "$tool" ]; then
    if docker info >/dev/null 2>&1; then tool=docker
    elif command -v podman >/dev/null; then tool=podman
    elif command -v buildah >/dev/null; then tool=buildah
    else echo "error: an image needs Docker with its daemon running, Podman or Buildah; on Debian: apt install buildah" >&2; exit 1
    fi
fi
case "${tool##*/}" in
    docker | podman | buildah) command -v "$tool" >/dev/null || { echo "error: $tool is not installed" >&2; exit 1; } ;;
    *) echo "error: TOOL is $tool; docker, podman or buildah is meant" >&2; exit 1 ;;
esac
described=$("$BIN/python" scripts/bento.py)
echo "$described"
tag=$(echo "$described" | sed -n 's/^bento: //p')
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
"$BIN/bentoml" export "$tag" "$context/cifar.bento" >/dev/null
mkdir "$context/image"
tar -xf "$context/cifar.bento" -C "$context/image"
cp scripts/sbom.py requirements-uv.lock "$context/image"
chmod -R u+rwX,go+rX,go-w "$context/image" # BentoML's folders are their owner's alone; in the image another user reads them
# Buildah writes OCI images, whose format has no healthcheck.
case "${tool##*/}" in docker) format= ;; *) format="--format docker" ;; esac
# shellcheck disable=SC2086  # options are several words
"$tool" build $format ${BASE:+--build-arg "BASE=$BASE"} ${OPTIONS:-} \
    --label "org.opencontainers.image.version=$("$BIN/python" version.py)" \
    -t "$IMAGE:${tag#*:}" -t "$IMAGE:latest" -f deploy/Containerfile "$context/image"
echo "image: $IMAGE:${tag#*:}, also $IMAGE:latest"
