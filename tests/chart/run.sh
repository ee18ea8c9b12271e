#!/usr/bin/env bash
# Checks the Helm chart without a cluster: lint, every example of charts/freshgate/ci for every Kubernetes version with every
# Helm that is there, what must be so in all of them, what must be refused and with which words, and the alerts.
# $FRESHGATE may name the gate's program: then it is asked whether it reads the arguments, and for its CRDs.
# Helm comes from $HELM (several, separated by spaces), from the path (helm, helm3, helm4), or from the test bed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
chart=$root/charts/freshgate
export PYTHONDONTWRITEBYTECODE=1     # a check leaves nothing in the checkout
versions="1.30 1.31 1.32 1.33 1.34 1.35 1.36 1.37"
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT

missing() { echo "error: $1 is missing: $2" >&2; exit 1; }
command -v promtool >/dev/null || missing promtool "install the Debian package prometheus, or run \`make setup\`"
python3 -c 'import yaml' 2>/dev/null || missing "a YAML reader for python3" "install the Debian package python3-yaml, or run \`make setup\`"

helms=${HELM:-$(for name in helm helm3 helm4; do command -v $name || true; done)}
if [ -z "$helms" ]; then
  bed=$("$root/tests/cluster/build.sh")
  helms=$(ls "$bed"/helm "$bed"/helm3 "$bed"/helm4 2>/dev/null || true)
fi
[ -n "$helms" ] || missing helm "install Helm 3 or 4, or name it with HELM=/path/to/helm"

for helm in $helms; do
  major=$("$helm" version --short | sed -E 's/^v([0-9]+).*/\1/')
  [ -e "$out/helm-$major" ] && continue
  mkdir "$out/helm-$major"
  echo "Helm $major: $("$helm" version --short)"
  "$helm" lint --strict --quiet --kube-version 1.30 "$chart"
  for version in $versions; do
    mkdir "$out/helm-$major/$version"
    for example in "$chart"/ci/*-values.yaml; do
      echo "$version $example $out/helm-$major/$version/$(basename "$example" -values.yaml).yaml"
    done
  done | xargs -P 2 -L 1 bash -c '"$0" template freshgate "$1" --namespace freshgate-system --kube-version "$2" --values "$3" > "$4" || { echo "error: $3 with Kubernetes $2" >&2; exit 255; }' "$helm" "$chart"
  python3 "$here/refusals.py" "$helm" "$chart"
done

python3 "$here/check.py" "$root" "$out"
rendered=$(ls "$out"/helm-*/1.30/monitoring.yaml | head -1)
python3 "$here/rules.py" "$rendered" > "$out/whole.yaml"
promtool check rules "$out/whole.yaml"
python3 "$here/rules.py" "$rendered" --bare > "$out/rules.yaml"
cp "$here/alerts.yaml" "$out/alerts.yaml"
promtool test rules "$out/alerts.yaml"
echo "the chart is as it should be"
