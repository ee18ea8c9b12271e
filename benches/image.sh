#!/usr/bin/env bash
# Measures the container image: how large it is as registries keep it, and how soon the program in it is ready, started five
# times from nothing but the image's files, as the image's user. Fails above 40 MiB or 2 s. Root, because of `chroot`.
# Usage: benches/image.sh [ARCHIVE]; without one, `docker save`'s or image.sh's, an image is built first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ "$(id -u)" = 0 ] || { echo "error: chroot needs root" >&2; exit 1; }
folder=$(mktemp -d); gate=''
end() { [ -z "$gate" ] || kill -KILL "$gate" 2>/dev/null || true; rm -rf "$folder"; }
trap end EXIT
archive=${1:-$folder/image.tar}
[ $# -gt 0 ] || ./image.sh --archive "$archive" freshgate:measured
mkdir "$folder/archive" "$folder/root"
tar -xf "$archive" -C "$folder/archive"

read -r user config < <(python3 - "$folder/archive" <<'P'
import json, sys
manifest = json.load(open(f"{sys.argv[1]}/manifest.json"))[0]
print(json.load(open(f"{sys.argv[1]}/{manifest['Config']}"))["config"]["User"], manifest["Config"])
P
)
size=0
for layer in $(python3 -c 'import json,sys; print(*json.load(open(sys.argv[1]))[0]["Layers"])' "$folder/archive/manifest.json"); do
  size=$((size + $(gzip -nc "$folder/archive/$layer" | wc -c)))
  tar -xf "$folder/archive/$layer" -C "$folder/root"
done
size=$((size + $(wc -c < "$folder/archive/$config")))

mkdir -p "$folder/root/policies" "$folder/root/data" "$folder/root/dev"
cp policies/production.yaml "$folder/root/policies/"
chown "$user" "$folder/root/data"; chmod 755 "$folder" "$folder/root"
read -r port admin_port < <(python3 -c 'import socket
sockets = [socket.socket() for _ in range(2)]
for one in sockets: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))')
times=()
for run in 1 2 3 4 5; do
  begun=$(date +%s%N)
  # As containers have it, there is a /dev.
  unshare --mount bash -c 'mount --bind /dev "$0/dev"; exec chroot --userspec="$1" "$0" "${@:2}"' "$folder/root" "$user" \
    /freshgate serve --policies /policies --store "sqlite:/data/$run.db" --tls-self-signed \
    --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin_port" > "$folder/log" 2>&1 &
  gate=$!
  until curl -sf -o /dev/null "http://127.0.0.1:$admin_port/readyz"; do
    kill -0 "$gate" 2>/dev/null || { echo "error: it ended:" >&2; tail -5 "$folder/log" >&2; exit 1; }
    sleep 0.01
  done
  times+=($((($(date +%s%N) - begun) / 1000000)))
  kill -KILL "$gate"; wait "$gate" 2>/dev/null || true; gate=''
done
ready=$(printf '%s\n' "${times[@]}" | sort -n | sed -n 3p)
awk -v size=$size -v ready="$ready" -v all="${times[*]}" 'BEGIN {
  printf "compressed: %.1f MiB (at most 40)\nready after: %.2f s (at most 2; the median of %s ms)\n", size / 1048576, ready / 1000, all
  exit !(size <= 40 * 1048576 && ready <= 2000)
}'
