#!/usr/bin/env bash
# Makes sure that the programs of the test bed are there, and prints the folder they are in.
# kube-apiserver, kube-controller-manager, kubectl, crane and a registry are built from the Go modules beside this
# file into a cache outside the checkout, keyed by what they are built from; etcd and docker-registry are the system's.
# PostgreSQL is the system's as well, and installed where that is allowed.
# With KUBEBUILDER_ASSETS (envtest's convention) its kube-apiserver, etcd and kubectl are used and not built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FRESHGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/freshgate}
key=$(cat "$here"/{kubernetes,tools}/go.{mod,sum} | sha256sum | cut -c1-16)
bin=$cache/bed-$key
mkdir -p "$bin"

missing() { echo "error: $1 is missing: $2" >&2; exit 1; }
link() { ln -sfn "$(command -v "$1" || missing "$1" "install the Debian package $2, or run \`make setup\`")" "$bin/$1"; }

build() { # module package [ldflags]
  local name=${2##*/}
  # What is ours is not told apart by the key, so it is built again when it is newer.
  [ -x "$bin/$name" ] && ! [ "$here/$1/$2/main.go" -nt "$bin/$name" ] && return
  command -v go >/dev/null || missing go "the test bed is built from Go source; install Go 1.26"
  echo "building $name (once; kept in $cache)" >&2
  (cd "$here/$1" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w ${3:-}" -o "$bin/$name.new" "$2" && mv "$bin/$name.new" "$bin/$name") >&2
}

exec 9> "$bin/.lock"; flock 9     # two test runs at once build once
version=$(sed -n 's/^\s*\(require \)\?k8s.io\/kubernetes \(v[0-9.]*\).*/\2/p' "$here/kubernetes/go.mod")
minor=$(cut -d. -f2 <<<"$version")
# The server refuses to run as a version it does not know.
stamp="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for program in kube-apiserver etcd kubectl; do
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || missing "$KUBEBUILDER_ASSETS/$program" "KUBEBUILDER_ASSETS names a folder with kube-apiserver, etcd and kubectl"
    ln -sfn "$KUBEBUILDER_ASSETS/$program" "$bin/$program"
  done
else
  link etcd etcd-server
  build kubernetes k8s.io/kubernetes/cmd/kube-apiserver "$stamp"
  build kubernetes k8s.io/kubernetes/cmd/kubectl "$stamp"
fi
build kubernetes k8s.io/kubernetes/cmd/kube-controller-manager "$stamp"
build tools github.com/google/go-containerregistry/cmd/crane
build tools ./registry-with-referrers
link docker-registry docker-registry

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
