#!/usr/bin/env bash
# Runs a program where a whole Kubernetes node can live and leave nothing: in namespaces of its own for network, mounts
# and processes. When the program ends, or this does, however that happens, the kernel ends all that it started.
# Usage: enter.sh PROGRAM [ARGUMENT…]; the program finds in FRESHGATE_NODE_FOLDER a folder for its state, in
# FRESHGATE_NODE_ADDRESS the node's address, and in FRESHGATE_NODE_CGROUP the control group for Pods. Root.
# Where the program fails, the folder `log` in its state is kept and named.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  [ "$(id -u)" = 0 ] || { echo "error: a real node needs root; run the tests as root, or leave these out" >&2; exit 1; }
  groups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "freshgate-node-$1"; }
  remove_groups() { groups "$1" | while read -r group; do find "$group" -depth -type d -exec rmdir {} \; ; done; }
  # What a run left that was killed with this script.
  for left in $(groups '*' | sed 's/.*freshgate-node-//' | sort -u); do [ -d "/proc/$left" ] || remove_groups "$left" 2>/dev/null || true; done
  folder=$(mktemp -d "${TMPDIR:-/tmp}/freshgate-node.XXXXXX")
  chmod 755 "$folder"
  mkdir "$folder/log"
  end() {
    local status=$?
    if [ $status != 0 ] && [ -n "$(ls "$folder/log")" ]; then
      local kept; kept=$(mktemp -d "${TMPDIR:-/tmp}/freshgate-node-log.XXXXXX")
      cp -r "$folder/log/." "$kept/"; echo "the node's logs are in $kept" >&2
    fi
    rm -rf --one-file-system "$folder"
    remove_groups $$ 2>/dev/null || true
    exit $status
  }
  trap end EXIT
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then mkdir "/sys/fs/cgroup/freshgate-node-$$"
  else for controller in /sys/fs/cgroup/*/; do [ -L "${controller%/}" ] || mkdir "${controller}freshgate-node-$$"; done
  fi
  TMPDIR=$folder FRESHGATE_NODE_FOLDER=$folder FRESHGATE_NODE_CGROUP=/freshgate-node-$$ FRESHGATE_NODE_ADDRESS=10.210.0.2 \
    unshare --net --mount --pid --fork --mount-proc --kill-child --propagation private "$0" --inside "$@"
  exit
fi
shift

mount --make-rshared /     # the kubelet hands mounts on to containers
# What container runtimes and kubelets keep at fixed places.
for place in /run /var/lib/cni /var/lib/kubelet /var/log/pods /var/log/containers; do
  mkdir -p "$place"; mount -t tmpfs -o mode=755 tmpfs "$place"
done
mkdir /run/lock /run/netns

ip link set lo up
# A kernel without dummy devices has these: both ends stay here.
ip link add eth0 type veth peer name eth0-peer
ip address add "$FRESHGATE_NODE_ADDRESS/24" dev eth0
ip link set eth0 up
ip link set eth0-peer up
ip route add default via "${FRESHGATE_NODE_ADDRESS%.*}.1" dev eth0
sysctl -qw net.ipv4.ip_forward=1

# This shell stays as the first process: it takes in what lost its parent.
"$@" <&0 &
wait $!
