#!/usr/bin/env bash
# Makes sure that the programs of a test bed are there, and prints the folder they are in.
#   build.sh         the API server on loopback
#   build.sh node    that and a real node; needs root and Debian's packages for it, see `make setup`
# What is Go is built from the modules beside this file into a cache outside the checkout, one folder for each module,
# keyed by what it is built from; the rest is the system's. PostgreSQL is the system's as well, and installed where that
# is allowed. With KUBEBUILDER_ASSETS (envtest's convention) its kube-apiserver, etcd and kubectl are used and not built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FRESHGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/freshgate}
what=${1:-loopback}
key() { (cd "$here/$1" && find . -type f | LC_ALL=C sort | xargs sha256sum) | sha256sum | cut -c1-16; }
bin=$cache/bed-$(for module in kubernetes tools helm helm4 coredns cert-manager; do key $module; done | sha256sum | cut -c1-16)
mkdir -p "$bin"

missing() { echo "error: $1 is missing: $2" >&2; exit 1; }
link() { ln -sfn "$(command -v "$1" || missing "$1" "install the Debian package $2, or run \`make setup\`")" "$bin/$1"; }

build() { # module package name [ldflags]
  local built
  built=$cache/go-$1-$(key "$1")
  mkdir -p "$built"
  if ! [ -x "$built/$3" ]; then
    command -v go >/dev/null || missing go "the test bed is built from Go source; install Go 1.26"
    echo "building $3 (once; kept in $cache)" >&2
    (cd "$here/$1" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w ${4:-}" -o "$built/$3.new" "$2" && mv "$built/$3.new" "$built/$3") >&2
  fi
  ln -sfn "$built/$3" "$bin/$3"
}

exec 9> "$cache/.lock"; flock 9     # two test runs at once build once
version=$(sed -n 's/^\s*\(require \)\?k8s.io\/kubernetes \(v[0-9.]*\).*/\2/p' "$here/kubernetes/go.mod")
minor=$(cut -d. -f2 <<<"$version")
# The server refuses to run as a version it does not know.
stamp="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
kubernetes() { build kubernetes "k8s.io/kubernetes/cmd/$1" "$1" "$stamp"; }
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for program in kube-apiserver etcd kubectl; do
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || missing "$KUBEBUILDER_ASSETS/$program" "KUBEBUILDER_ASSETS names a folder with kube-apiserver, etcd and kubectl"
    ln -sfn "$KUBEBUILDER_ASSETS/$program" "$bin/$program"
  done
else
  link etcd etcd-server
  kubernetes kube-apiserver
  kubernetes kubectl
fi
kubernetes kube-controller-manager
build tools github.com/google/go-containerregistry/cmd/crane crane
build tools ./registry-with-referrers registry-with-referrers
link docker-registry docker-registry
build helm helm.sh/helm/v3/cmd/helm helm
build helm4 helm.sh/helm/v4/cmd/helm helm4

if [ "$what" = node ]; then
  for program in kube-scheduler kubelet kube-proxy; do kubernetes $program; done
  build coredns . coredns
  build cert-manager . cert-manager
  definitions=$cache/go-cert-manager-$(key cert-manager)/cert-manager.crds.yaml
  if ! [ -e "$definitions" ]; then
    source=$(cd "$here/cert-manager" && go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
    for one in "$source"/deploy/crds/cert-manager.io_*.yaml; do echo ---; cat "$one"; done > "$definitions.new"
    mv "$definitions.new" "$definitions"
  fi
  ln -sfn "$definitions" "$bin/cert-manager.crds.yaml"
  link containerd containerd
  link runc runc
  link iptables iptables
  link conntrack conntrack
  link ip iproute2
  [ -x /usr/lib/cni/bridge ] || missing /usr/lib/cni/bridge "install the Debian package containernetworking-plugins"
  link busybox busybox-static
  "$bin/busybox" --help >/dev/null; ! ldd "$(readlink -f "$bin/busybox")" >/dev/null 2>&1 || missing busybox "a static one is needed, since images hold nothing else; install the Debian package busybox-static"
fi

# PostgreSQL's server is beside the path, one folder for each version. Debian's own cluster is not made for us.
postgresql() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
if [ -z "$(postgresql)" ] && command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  echo "installing postgresql" >&2
  { $sudo mkdir -p /etc/postgresql-common/createcluster.d
    echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.d/freshgate-tests.conf
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql; } >/dev/null
fi
[ -n "$(postgresql)" ] || missing postgres "install the Debian package postgresql"
ln -sfn "$(postgresql)" "$bin/postgresql"
echo "$bin"
