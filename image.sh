#!/usr/bin/env bash
# Builds the container image with docker or buildah, whichever is there.
#   image.sh [--profile dev|release] [--base IMAGE] [--archive FILE] [NAME[:TAG]]
# --profile   how the program is built; dev takes minutes less, and is for tests
# --base      what the image stands on; default nothing
# --archive   also writes the image to a file, as `docker save` does
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
usage() { echo "error: $1; usage: image.sh [--profile dev|release] [--base IMAGE] [--archive FILE] [NAME[:TAG]]" >&2; exit 2; }
profile=release base=scratch archive='' name=freshgate:dev
while [ $# -gt 0 ]; do
  case $1 in
  --profile | --base | --archive) [ $# -ge 2 ] || usage "$1 needs a value"; declare "${1#--}=$2"; shift 2 ;;
  -*) usage "there is no flag $1" ;;
  *) name=$1; shift ;;
  esac
done
case $profile in
dev) built=debug ;;
release) built=release ;;
*) usage "there is no profile $profile" ;;
esac
authorities=/etc/ssl/certs/ca-certificates.crt
[ -f $authorities ] || { echo "error: $authorities is missing; install ca-certificates" >&2; exit 1; }
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then builder=docker
elif command -v buildah >/dev/null; then builder=buildah
else echo "error: neither docker nor buildah is here; install one (on Debian: apt-get install buildah)" >&2; exit 1
fi

# Static, so that the base can be empty. A triple of its own keeps it apart from other builds.
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$profile" --bin freshgate --target "$triple"
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
strip -o "$folder/freshgate" "${CARGO_TARGET_DIR:-target}/$triple/$built/freshgate"
cp $authorities Dockerfile "$folder/"

# The commit's own time: the same source gives the same date, and an old commit does not look new.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); export SOURCE_DATE_EPOCH
arguments=(--build-arg "BASE=$base" --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
  --build-arg "REVISION=$(git rev-parse HEAD)" --build-arg "CREATED=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)")
if [ $builder = docker ]; then
  docker build --tag "$name" "${arguments[@]}" "$folder"
  [ -z "$archive" ] || docker save --output "$archive" "$name"
else
  # Where there is no daemon there may be no overlay either.
  buildah() { command buildah ${BUILDAH_OPTIONS:---storage-driver vfs} "$@"; }
  buildah build --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" --tag "$name" "${arguments[@]}" "$folder"
  if [ -n "$archive" ]; then rm -f "$archive"; buildah push "$name" "docker-archive:$archive:$name"; fi
fi
