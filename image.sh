#!/usr/bin/env bash
# Builds the container image with docker or buildah, whichever is there. Usage: image.sh NAME[:TAG]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
name=${1:-freshgate:dev}
triple=$(rustc -vV | sed -n 's/^host: //p')
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT

# Static, so that the base can be empty.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --bin freshgate --target "$triple"
cp "${CARGO_TARGET_DIR:-target}/$triple/release/freshgate" "$folder/"
strip "$folder/freshgate"
authorities=/etc/ssl/certs/ca-certificates.crt
[ -f $authorities ] || { echo "error: $authorities is missing; install ca-certificates" >&2; exit 1; }
cp $authorities "$folder/"
mkdir "$folder/zoneinfo"; [ -d /usr/share/zoneinfo ] && cp -rL /usr/share/zoneinfo/{UTC,Europe,America,Asia,Africa,Australia,Pacific,Atlantic,Indian} "$folder/zoneinfo/" 2>/dev/null || true
cp Dockerfile "$folder/"

# The commit's own time: the same source gives the same date, and an old commit does not look new.
arguments=(--build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
  --build-arg "REVISION=$(git rev-parse HEAD)" --build-arg "CREATED=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)")
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  docker build --tag "$name" "${arguments[@]}" "$folder"
elif command -v buildah >/dev/null; then
  buildah ${BUILDAH_OPTIONS:---storage-driver vfs} build --isolation chroot --timestamp "$(git log -1 --format=%ct)" --tag "$name" "${arguments[@]}" "$folder"
else
  echo "error: neither docker nor buildah is here; install one (on Debian: apt-get install buildah)" >&2; exit 1
fi
