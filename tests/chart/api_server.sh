#!/usr/bin/env bash
# The chart in front of a real API server and its controllers, on loopback and without a node: what Helm makes, adopts, keeps,
# refuses and removes; what RBAC lets the gate do; and what the static webhook sends to it. Helm is found as in run.sh.
# $FRESHGATE may name the gate's program: then it runs as the chart says, with the chart's rights, and is tried and removed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
chart=$root/charts/freshgate
bed=$("$root/tests/cluster/build.sh")
program=${FRESHGATE:+$(realpath "$FRESHGATE")}
helms=${HELM:-$(ls "$bed"/helm "$bed"/helm3 "$bed"/helm4 2>/dev/null || true; for name in helm helm3 helm4; do command -v $name || true; done)}
[ -n "$helms" ] || { echo "error: helm is missing: install Helm 3 or 4, or name it with HELM=/path/to/helm" >&2; exit 1; }

dir=$(mktemp -d)
pids=()
finish() {
  local status=$?
  trap - EXIT
  [ $status = 0 ] || { echo "--- the API server's last words" >&2; tail -5 "$dir/apiserver.log" >&2 || true; }
  # The API server would wait for connections to end, and its data is of no use any more.
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
  exit $status
}
trap finish EXIT
fail() { echo "error: $*" >&2; exit 1; }
step() { echo "  $*"; }

# The control plane.
cd "$dir"
read -r port etcd_port peer_port controllers_port gate_port admin_port prometheus_port postgresql_port < <(python3 - <<'P'
import socket
sockets = [socket.socket() for _ in range(8)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
P
)
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=test-ca -days 30 2>/dev/null
openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
certificate() { # name subject
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 30 \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:10.0.0.1') 2>/dev/null
  cat > "$1.kubeconfig" <<Y
{apiVersion: v1, kind: Config, current-context: c,
 clusters: [{name: c, cluster: {server: "https://127.0.0.1:$port", certificate-authority: $dir/ca.crt}}],
 users: [{name: u, user: {client-certificate: $dir/$1.crt, client-key: $dir/$1.key}}],
 contexts: [{name: c, context: {cluster: c, user: u}}]}
Y
}
certificate server /CN=kube-apiserver
certificate admin /O=system:masters/CN=admin
certificate controllers /CN=system:kube-controller-manager
start() { local name=$1; shift; "$@" > "$dir/$name.log" 2>&1 < /dev/null & pids+=($!); }
start etcd "$bed/etcd" --name n --unsafe-no-fsync --data-dir "$dir/etcd" \
  --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" --initial-cluster "n=http://127.0.0.1:$peer_port"
# What the gate asks for is what it needs rights for.
cat > audit.policy <<'Y'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: ["system:serviceaccount:freshgate-system:freshgate"]}
- {level: None}
Y
start apiserver "$bed/kube-apiserver" --audit-policy-file=audit.policy --audit-log-path="$dir/audit.log" --etcd-servers="http://127.0.0.1:$etcd_port" --secure-port="$port" --bind-address=127.0.0.1 \
  --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --service-cluster-ip-range=10.0.0.0/24 --authorization-mode=Node,RBAC \
  --allow-privileged=true --cert-dir="$dir/certificates" --tls-cert-file=server.crt --tls-private-key-file=server.key --client-ca-file=ca.crt \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key
export KUBECONFIG=$dir/admin.kubeconfig HELM_CACHE_HOME=$dir/helm HELM_CONFIG_HOME=$dir/helm HELM_DATA_HOME=$dir/helm
kubectl() { "$bed/kubectl" "$@"; }
until_so() { # seconds command…
  local end=$((SECONDS + $1)); shift
  until "$@" > "$dir/until" 2>&1; do [ $SECONDS -lt $end ] || { cat "$dir/until" >&2; return 1; }; sleep 0.2; done
}
until_so 120 kubectl get --raw /readyz || fail "the API server does not start"
start controllers "$bed/kube-controller-manager" --kubeconfig=controllers.kubeconfig --secure-port="$controllers_port" --bind-address=127.0.0.1 \
  --leader-elect=false --use-service-account-credentials=true --cert-dir="$dir/certificates" --root-ca-file=ca.crt --service-account-private-key-file=sa.key
until_so 60 kubectl get serviceaccount default || fail "the controllers do not start"

there() { kubectl get "$@" > /dev/null 2>&1; }
gone() { ! there "$@"; }
namespace=freshgate-system
gate() { kubectl --as "system:serviceaccount:$namespace:freshgate" --as-group system:serviceaccounts --as-group system:authenticated "$@"; }
may() { [ "$(gate auth can-i "$@" 2>/dev/null)" = yes ] || fail "the gate may not: $*"; }
may_not() { [ "$(gate auth can-i "$@" 2>/dev/null)" = no ] || fail "the gate may: $*"; }
refused_with() { # words command…
  local words=$1; shift
  if said=$("$@" 2>&1); then fail "not refused: $*"; fi
  grep -qF -- "$words" <<<"$said" || fail "nothing said of \"$words\": $said"
}

# What the gate makes itself, made here by its own account: a test of what RBAC lets it do, and of what an uninstall finds.
act_as_the_gate() {
  local uid; uid=$(gate get clusterrole freshgate --output jsonpath='{.metadata.uid}')
  local owner="ownerReferences: [{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, name: freshgate, uid: $uid}]"
  gate apply --server-side --field-manager freshgate --validate=false -f - > /dev/null <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: freshgate, $owner}
webhooks:
- name: workloads.freshgate.dev
  admissionReviewVersions: [v1]
  sideEffects: NoneOnDryRun
  failurePolicy: Fail
  timeoutSeconds: 3
  clientConfig: {url: "https://127.0.0.1:9/validate"}
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, $namespace]}]}
  rules: [{apiGroups: [apps], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [deployments]}]
Y
  gate create --validate=false -f - > /dev/null <<Y
{apiVersion: v1, kind: Secret, metadata: {name: freshgate-tls, namespace: $namespace, $owner}}
---
{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: freshgate, namespace: $namespace, $owner}, spec: {holderIdentity: a}}
Y
}
deploy() { kubectl --namespace default create deployment "$1" --image registry.example/app:1 --dry-run=server; }

# What took the place of what: our configuration goes, an empty one comes in its place, and is gone at the end.
cat > order.py <<'P'
import json, re, sys
text, events, decoder, at = open(sys.argv[1]).read(), [], json.JSONDecoder(), 0
while at < len(text):
    event, end = decoder.raw_decode(text, at)
    events.append((event["type"], bool(event["object"].get("webhooks")), event["object"]["metadata"].get("annotations", {}).get("freshgate.dev/removed")))
    at = re.compile(r"\s*").match(text, end).end()
assert events[:3] == [("ADDED", True, None), ("DELETED", True, None), ("ADDED", False, "true")] and events[-1] == ("DELETED", False, "true"), events
P

scenario() { # helm
  local helm=$1
  helm() { "$helm" --namespace "$namespace" "$@"; }
  kubectl create namespace $namespace > /dev/null
  kubectl label namespace $namespace pod-security.kubernetes.io/{enforce,warn}=restricted > /dev/null

  step "installs on a cluster that does not know its kinds, with a policy"
  helm install freshgate "$chart" --set 'examplePolicies={first-warnings}' > install.log 2>&1 || fail "$(cat install.log)"
  ! grep -i 'warning: would violate' install.log || fail "Pods are not restricted"
  there gatepolicy first-warnings || fail "the policy is not there"
  gone validatingwebhookconfiguration freshgate || fail "the webhook is registered although no gate answers"
  grep -q 'kubectl delete validatingwebhookconfiguration freshgate' install.log || fail "the notes lack the emergency command"
  pods() { [ -n "$(kubectl --namespace $namespace get pods --selector app.kubernetes.io/name=freshgate --output name)" ]; }
  until_so 30 pods || fail "no Pod was let in: $(kubectl --namespace $namespace describe replicasets)"

  step "RBAC lets the gate do what it must, and no more"
  may watch gatepolicies.freshgate.dev
  may patch gateexceptions.freshgate.dev --subresource status
  may create subjectaccessreviews.authorization.k8s.io
  may update secrets/freshgate-tls --namespace $namespace
  may update leases.coordination.k8s.io/freshgate --namespace $namespace
  may patch validatingwebhookconfigurations.admissionregistration.k8s.io/freshgate
  may list replicasets.apps --namespace default
  may_not get secrets --namespace $namespace
  may_not get secrets --namespace default
  may_not list secrets --namespace $namespace
  may_not update secrets --namespace $namespace
  may_not list validatingwebhookconfigurations.admissionregistration.k8s.io
  may_not patch validatingwebhookconfigurations.admissionregistration.k8s.io/another
  may_not patch gatepolicies.freshgate.dev
  may_not create pods --namespace default
  act_as_the_gate
  refused_with 'failed calling webhook' deploy app

  step "an upgrade takes over the policy as it is, and keeps one that leaves the values in force"
  policy() { kubectl get gatepolicy first-warnings --output jsonpath='{.metadata.uid} {.spec.imageAge.maxAge}'; }
  upgrade() { helm upgrade freshgate "$chart" "$@" > upgrade.log 2>&1 || fail "$(cat upgrade.log)"; }
  local uid; uid=$(kubectl get gatepolicy first-warnings --output jsonpath='{.metadata.uid}')
  upgrade --set 'examplePolicies={first-warnings}'
  [ "$(policy)" = "$uid 90d" ] || fail "the policy was made anew although nothing has changed: $uid, $(policy)"
  own=(--set "policies.first-warnings.validationActions={Warn}")
  upgrade "${own[@]}" --set 'policies.first-warnings.imageAge.maxAge=60d'
  uid=$(kubectl get gatepolicy first-warnings --output jsonpath='{.metadata.uid}')
  [ "$(policy)" = "$uid 60d" ] || fail "a change did not arrive: $(policy)"
  upgrade "${own[@]}" --set 'policies.first-warnings.imageAge.maxAge=50d'
  [ "$(policy)" = "$uid 50d" ] || fail "a second change made the policy anew, or did not arrive: $uid, $(policy)"
  upgrade --reset-values
  there gatepolicy first-warnings || fail "the policy is gone"
  grep -q 'policy first-warnings is no longer in the values' upgrade.log || fail "the notes do not name the policy that stays: $(cat upgrade.log)"
  there validatingwebhookconfiguration freshgate || fail "an upgrade took the webhook away"

  step "a second release is refused, with the first one's name"
  kubectl create namespace second > /dev/null
  refused_with 'This cluster has a gate already: release "freshgate" in namespace "freshgate-system"' "$helm" --namespace second install other "$chart"
  kubectl delete namespace second --wait=false > /dev/null

  step "an uninstall takes the webhook away first, without a Pod, and leaves policies, CRDs and the audit"
  # The program and not the function: else the pid would be a shell's, and the program would go on writing.
  "$bed/kubectl" get validatingwebhookconfigurations --watch --output-watch-events --output json > watched.json 2>/dev/null & local watching=$!
  sleep 1
  helm uninstall freshgate > uninstall.log 2>&1 || fail "$(cat uninstall.log)"
  until_so 15 python3 order.py watched.json || fail "another object than an empty one took the webhook's place: $(cat until)"
  kill $watching; wait $watching 2>/dev/null || true
  gone validatingwebhookconfiguration freshgate || fail "the webhook is left"
  deploy app > /dev/null || fail "nothing can be deployed"
  local left; left=$(kubectl --namespace $namespace get all,secrets,leases,configmaps,serviceaccounts,roles,rolebindings,networkpolicies,persistentvolumeclaims --output name | grep -v -e kube-root-ca -e serviceaccount/default -e '^pod/' -e '^replicaset' | sort | tr '\n' ' ')
  [ "$left" = "persistentvolumeclaim/freshgate " ] || fail "left in the namespace: $left"
  [ -z "$(kubectl get clusterroles,clusterrolebindings --output name --selector app.kubernetes.io/part-of=freshgate)" ] || fail "roles are left"
  there gatepolicy first-warnings && there crd gateexceptions.freshgate.dev || fail "policies or CRDs are gone"

  step "an install of the same name takes up what was left; objects deleted without hooks take the gate's own with them"
  helm install freshgate "$chart" "${own[@]}" --set 'policies.first-warnings.imageAge.maxAge=40d' > install.log 2>&1 || fail "$(cat install.log)"
  [ "$(kubectl get gatepolicy first-warnings --output jsonpath='{.spec.imageAge.maxAge}')" = 40d ] || fail "a policy that was left did not become what the values say"
  act_as_the_gate
  helm get manifest freshgate > manifest.yaml
  python3 - manifest.yaml > objects.yaml <<'P'
import sys, yaml
kept = ("CustomResourceDefinition", "PersistentVolumeClaim", "GatePolicy")
yaml.safe_dump_all([one for one in yaml.safe_load_all(open(sys.argv[1])) if one and one["kind"] not in kept], sys.stdout)
P
  kubectl delete --wait=false -f objects.yaml > /dev/null
  for object in validatingwebhookconfiguration/freshgate "secret/freshgate-tls --namespace $namespace" "lease/freshgate --namespace $namespace"; do
    # shellcheck disable=SC2086
    until_so 60 gone $object || fail "the garbage collector leaves $object"
  done
  deploy app > /dev/null || fail "nothing can be deployed"
  helm uninstall freshgate > uninstall.log 2>&1 || fail "$(cat uninstall.log)"

  step "a release of another name is told how to take over the CRDs, and does"
  refused_with 'was left by release "freshgate" in namespace "freshgate-system"' "$helm" --namespace "$namespace" install gate "$chart"
  grep -E '^  kubectl ' <<<"$said" | sed 's/^  //' > commands.sh
  [ "$(wc -l < commands.sh)" = 2 ] || fail "the commands are not there: $said"
  PATH=$bed:$PATH bash commands.sh > /dev/null
  helm install gate "$chart" --set fullnameOverride=freshgate --set store.sqlite.existingClaim=freshgate > install.log 2>&1 || fail "$(cat install.log)"

  step "a purge leaves nothing"
  act_as_the_gate
  helm upgrade gate "$chart" --reuse-values --set purge=true > upgrade.log 2>&1 || fail "$(cat upgrade.log)"
  helm uninstall gate > uninstall.log 2>&1 || fail "$(cat uninstall.log)"
  until_so 30 gone crd gatepolicies.freshgate.dev || fail "CRDs are left"
  gone validatingwebhookconfiguration freshgate || fail "the webhook is left"
  kubectl --namespace $namespace delete persistentvolumeclaim freshgate --wait=false > /dev/null

  step "the static webhook reaches what it must, and what is equal never reaches the gate"
  kubectl --namespace default create deployment running --image registry.example/app:1 > /dev/null
  helm install freshgate "$chart" --set webhook.manage=false --set webhook.failurePolicy=Fail --set acknowledge.failWithOneReplica=true --set webhook.timeoutSeconds=3 \
    --set webhook.url=https://127.0.0.1:9/validate --set certificates.mode=existingSecret --set certificates.existingSecret=serving --set-file webhook.caBundle=ca.crt > install.log 2>&1 || fail "$(cat install.log)"
  refused_with 'failed calling webhook "workloads.freshgate.dev"' deploy app
  refused_with 'failed calling webhook' kubectl --namespace default set image deployment/running app=registry.example/app:2
  refused_with 'failed calling webhook' kubectl --namespace default label deployment/running app.kubernetes.io/name=another
  kubectl --namespace default scale deployment/running --replicas=3 > /dev/null || fail "scaling reaches the gate"
  kubectl --namespace default annotate deployment/running note=one > /dev/null || fail "an annotation reaches the gate"
  kubectl --namespace default patch deployment/running --type merge --patch '{"spec":{"paused":true}}' > /dev/null || fail "a pause reaches the gate"
  kubectl --namespace default delete deployment/running > /dev/null || fail "a deletion waits for the gate"
  kubectl --namespace default create cronjob nightly --image registry.example/app:1 --schedule '@daily' --dry-run=server > /dev/null 2>&1 && fail "a CronJob does not reach the gate"
  kubectl --namespace $namespace create deployment own --image registry.example/app:1 --dry-run=server > /dev/null 2>&1 || fail "the release's own namespace is judged"
  kubectl --namespace kube-system create deployment own --image registry.example/app:1 --dry-run=server > /dev/null || fail "kube-system is judged"
  helm uninstall freshgate > uninstall.log 2>&1 || fail "$(cat uninstall.log)"
  deploy app > /dev/null || fail "nothing can be deployed"
  kubectl delete crd gatepolicies.freshgate.dev budgetsources.freshgate.dev gateexceptions.freshgate.dev > /dev/null
  kubectl delete namespace $namespace --wait=false > /dev/null
  until_so 60 gone namespace $namespace || fail "the namespace does not go"
}

examples() { # helm
  step "the API server takes every object of every example, by its own schema"
  kubectl create namespace $namespace > /dev/null
  for account in freshgate-test gate-test; do kubectl --namespace $namespace create serviceaccount $account > /dev/null; done
  for example in "$chart"/ci/*-values.yaml; do
    "$1" template freshgate "$chart" --namespace $namespace --kube-version 1.36 --values "$example" > whole.yaml
    python3 - whole.yaml > known.yaml <<'P'
import sys, yaml
known = ("cert-manager.io", "monitoring.coreos.com", "freshgate.dev")
for one in yaml.safe_load_all(open(sys.argv[1])):
    if one and one["apiVersion"].split("/")[0] not in known and one["metadata"].get("namespace") not in ("freshgate-test", "shop", "payments"):
        # What is no certificate is refused: it is there to be seen.
        for hook in one.get("webhooks") or []:
            hook["clientConfig"].pop("caBundle", None)
        print("---"); yaml.safe_dump(one, sys.stdout)
P
    kubectl apply --dry-run=server --validate=strict -f known.yaml > applied.log 2>&1 || fail "$(basename "$example"): $(grep -v 'server dry run' applied.log)"
  done
  kubectl delete namespace $namespace --wait=false > /dev/null
  until_so 60 gone namespace $namespace || fail "the namespace does not go"
}

# A kubeconfig of one of the release's service accounts.
kubeconfig_of() { # account
  cat > "$1.kubeconfig" <<Y
{apiVersion: v1, kind: Config, current-context: c,
 clusters: [{name: c, cluster: {server: "https://127.0.0.1:$port", certificate-authority: $dir/ca.crt}}],
 users: [{name: u, user: {token: "$(kubectl --namespace $namespace create token "$1")"}}],
 contexts: [{name: c, context: {cluster: c, user: u, namespace: $namespace}}]}
Y
}
# The arguments of a Pod that the chart renders, one a line, with the Pod's names and a volume of our own.
arguments_of() { # kind < manifests
  python3 -c '
import sys, yaml
kind, folder, namespace = sys.argv[1:]
for one in yaml.safe_load_all(sys.stdin):
    if one and one["kind"] == kind:
        pod = one["spec"].get("template", one)["spec"]
        for argument in pod["containers"][0]["args"]:
            print(argument.replace("$(POD_NAME)", "a").replace("$(POD_NAMESPACE)", namespace).replace("/var/lib/freshgate", folder))
' "$1" "$dir/volume" "$namespace"
}

# What others bring into a cluster, as little as the gate sees of it: controllers with Pod templates, and without, objectives,
# reports.
bring_others() {
  for one in "$root"/tests/fixtures/reports/*.yaml; do echo ---; cat "$one"; done > others.yaml
  python3 - >> others.yaml <<'P'
import yaml
for group, version, kind in [
    ("argoproj.io", "v1alpha1", "Rollout"), ("serving.knative.dev", "v1", "Service"), ("serving.knative.dev", "v1", "Configuration"),
    ("serving.knative.dev", "v1", "Revision"), ("apps.kruise.io", "v1alpha1", "CloneSet"), ("example.dev", "v1", "Shop"),
    ("sloth.slok.dev", "v1", "PrometheusServiceLevel"), ("pyrra.dev", "v1alpha1", "ServiceLevelObjective"),
]:
    plural = kind.lower() + "s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    print("---")
    print(yaml.safe_dump({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                 "versions": [{"name": version, "served": True, "storage": True, "schema": schema}]},
    }))
P
  kubectl apply -f others.yaml > /dev/null
  kubectl wait --for=condition=Established -f others.yaml > /dev/null
  kubectl --namespace $namespace create configmap slos --from-file=slo.yaml=<(cat <<'Y'
apiVersion: openslo/v1
kind: SLO
metadata: {name: availability}
spec:
  service: cart
  budgetingMethod: Occurrences
  objectives: [{target: 0.999}]
  timeWindow: [{duration: 1h, isRolling: true}]
  indicator:
    metadata: {name: requests}
    spec: {ratioMetric: {counter: true, bad: {metricSource: {type: Prometheus, spec: {query: up == 0}}}, total: {metricSource: {type: Prometheus, spec: {query: up}}}}}
Y
) > /dev/null
  kubectl --namespace $namespace create secret generic prometheus --from-literal=token=some > /dev/null
  printf 'global: {scrape_interval: 1s}\nscrape_configs: [{job_name: self, static_configs: [{targets: ["127.0.0.1:%s"]}]}]\n' "$prometheus_port" > prometheus.yml
  start prometheus prometheus --config.file=prometheus.yml --storage.tsdb.path="$dir/prometheus" --web.listen-address="127.0.0.1:$prometheus_port" --log.level=warn
  prometheus_pid=${pids[-1]}
  until_so 60 curl --silent --fail "http://127.0.0.1:$prometheus_port/-/ready" || fail "Prometheus does not start: $(tail -5 prometheus.log)"
}

# Of one kind and name, as an apply makes it.
report() { # version kind
  printf '{apiVersion: %s, kind: %s, metadata: {name: some, namespace: default}}' "$1" "$2"
}

# Makes the gate ask for what it may: owners of each kind, revisions, whoever grants, whoever reads decisions, objectives of each
# format, a Secret that somebody broke, pull secrets.
use_rights() {
  kubectl --namespace default set image deployment/recorded app=registry.example/app:2 > /dev/null 2>&1
  python3 - > asked.yaml <<'P'
import yaml
pod = {"containers": [{"name": "app", "image": "registry.example/app:1"}]}
template = {"metadata": {"labels": {"app": "a"}}, "spec": pod}
labels = {"selector": {"matchLabels": {"app": "a"}}, "template": template}
job = {"template": {"spec": {**pod, "restartPolicy": "Never"}}}
def owned(version, kind, spec, owner_version, owner):
    reference = {"apiVersion": owner_version, "kind": owner, "name": "absent", "uid": "00000000-0000-0000-0000-000000000000", "controller": True}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": f"of-{owner.lower()}", "namespace": "default", "ownerReferences": [reference]}, "spec": spec}
yaml.safe_dump_all([
    owned("v1", "Pod", pod, "apps/v1", "ReplicaSet"), owned("v1", "Pod", pod, "apps/v1", "StatefulSet"), owned("v1", "Pod", pod, "apps/v1", "DaemonSet"),
    owned("v1", "Pod", pod, "batch/v1", "Job"), owned("v1", "Pod", pod, "v1", "ReplicationController"),
    owned("apps/v1", "ReplicaSet", labels, "apps/v1", "Deployment"), owned("batch/v1", "Job", job, "batch/v1", "CronJob"),
    owned("apps/v1", "ReplicaSet", labels, "argoproj.io/v1alpha1", "Rollout"), owned("v1", "Pod", pod, "apps.kruise.io/v1alpha1", "CloneSet"),
    owned("apps/v1", "Deployment", labels, "serving.knative.dev/v1", "Revision"), owned("apps/v1", "Deployment", labels, "serving.knative.dev/v1", "Configuration"),
    owned("v1", "Pod", pod, "serving.knative.dev/v1", "Service"), owned("v1", "Pod", pod, "example.dev/v1", "Shop"),
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pulled", "namespace": "default"}, "spec": {**pod, "imagePullSecrets": [{"name": "pull"}]}},
], __import__("sys").stdout)
P
  kubectl create --dry-run=server -f asked.yaml > asked.log 2>&1 || true
  for kind in StatefulSet DaemonSet; do
    printf '{apiVersion: apps/v1, kind: %s, metadata: {name: %s, namespace: default}, spec: {%s selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: app, image: "registry.example/app:1"}]}}}}' \
      $kind "${kind,,}" "$([ $kind = DaemonSet ] || echo 'serviceName: a,')" > set.json
    kubectl apply -f set.json > /dev/null 2>&1
    sed -i 's/app:1/app:2/' set.json; kubectl apply -f set.json > /dev/null 2>&1
  done
  kubectl create -f - > asked.log 2>&1 <<Y || fail "$(cat asked.log)"
apiVersion: freshgate.dev/v1alpha1
kind: GateException
metadata: {name: incident}
spec:
  targets: [{namespace: default, kind: Pod, name: absent}, {namespace: default, kind: Deployment, name: recorded}, {namespace: default, kind: CronJob, name: absent}]
  rules: [imageAge]
  reason: incident
  text: a test
  expiresAt: "$(date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ)"
---
apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {name: away}
spec: {format: Sloth, prometheus: {url: "http://127.0.0.1:9"}, service: {from: [NamespaceLabel]}}
---
apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {name: sloth}
spec: {format: Sloth, interval: 1s, prometheus: {url: "http://127.0.0.1:$prometheus_port", bearer: {secret: {name: prometheus, key: token}}}}
---
apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {name: pyrra}
spec: {format: Pyrra, interval: 1s, prometheus: {url: "http://127.0.0.1:$prometheus_port"}}
---
apiVersion: freshgate.dev/v1alpha1
kind: BudgetSource
metadata: {name: openslo}
spec: {format: OpenSLO, interval: 1s, prometheus: {url: "http://127.0.0.1:$prometheus_port"}, openslo: {configMaps: [{name: slos}]}}
Y
  active() { [ -n "$(kubectl get gateexception incident --output jsonpath='{.status.grantedBy}{.status.signature}')" ]; }
  until_so 20 active || fail "the exception is not signed: $(kubectl get gateexception incident --output yaml)"
  reported() { [ -n "$(kubectl get budgetsource away --output jsonpath='{.status.conditions}')" ]; }
  until_so 20 reported || fail "the source has no status"
  for source in sloth pyrra openslo; do
    answers() { [ "$(kubectl get budgetsource $source --output jsonpath='{.status.conditions[?(@.type=="Reachable")].status}')" = True ]; }
    until_so 60 answers || fail "the source $source does not answer: $(kubectl get budgetsource $source --output yaml)"
  done
  # Somebody breaks the certificate's Secret, and the gate mends it.
  kubectl --namespace $namespace patch secret freshgate-tls --patch '{"stringData": {"tls.key": "broken"}}' > /dev/null
  mended() { [ "$(kubectl --namespace $namespace get secret freshgate-tls --output jsonpath='{.data.tls\.key}' | base64 -d)" != broken ]; }
  until_so 60 mended || fail "the Secret stays broken: $(tail -5 gate.log)"
  # A namespace that no watch has brought. Whoever sends such a review, the gate asks whether there is one.
  asked() { grep -c '"resource":"serviceaccounts","namespace":"nowhere"' audit.log; }
  local _ before; before=$(asked || true)
  for _ in 1 2 3 4 5; do
    curl --silent --insecure --header 'Content-Type: application/json' "https://127.0.0.1:$gate_port/validate?timeout=5s" --data '{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
      "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "nowhere", "name": "a", "operation": "CREATE", "userInfo": {"username": "a"},
      "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "nowhere"}, "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]}}, "oldObject": null}}' > nowhere.json
    grep -q '"uid":"u"' nowhere.json || fail "no answer to a review of a namespace that is not there: $(cat nowhere.json)"
  done
  # Its pull secrets are none of the gate's business, and it remembers that.
  [ "$(asked)" = $((before + 1)) ] || fail "for each review it is asked anew what may not be read: $(asked) times, before them $before"
  for kind in reports.openreports.io policyreports.wgpolicyk8s.io; do
    until_so 60 there $kind freshgate --namespace default || fail "there is no report of what runs: $(tail -5 gate.log)"
  done
  curl --silent --header "Authorization: Bearer $(kubectl --namespace $namespace create token freshgate)" "http://127.0.0.1:$admin_port/v1/decisions" > /dev/null
  kubectl --namespace default delete deployment/recorded statefulset/statefulset daemonset/daemonset > /dev/null
  kubectl delete budgetsource --all > /dev/null
  for kind in reports.openreports.io policyreports.wgpolicyk8s.io; do
    until_so 60 gone $kind freshgate --namespace default || fail "a report of nothing stays: $(tail -5 gate.log)"
  done
  # An apply that makes something needs the right to create as well, which the log does not show.
  kubectl create clusterrole patcher --verb=patch --resource=validatingwebhookconfigurations,reports.openreports.io,policyreports.wgpolicyk8s.io > /dev/null
  kubectl create clusterrolebinding patcher --clusterrole=patcher --user=patcher > /dev/null
  local made
  for made in 'openreports.io/v1alpha1 Report reports' 'wgpolicyk8s.io/v1alpha2 PolicyReport policyreports' 'admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration validatingwebhookconfigurations'; do
    # shellcheck disable=SC2086
    set -- $made
    report "$1" "$2" > made.json
    refused_with "cannot create resource \"$3\"" kubectl --as patcher apply --server-side --validate=false -f made.json
  done
  kubectl delete clusterrole,clusterrolebinding patcher > /dev/null
}

# A PostgreSQL server of the test's own, which trusts whoever is on this machine. It does not run as root.
bring_postgresql() {
  local as=() programs; programs=$(readlink "$bed/postgresql")
  mkdir -p "$dir/postgresql"
  if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid=postgres --regid=postgres --init-groups); chmod 711 "$dir"; chown postgres "$dir/postgresql"; fi
  (cd "$dir/postgresql" && "${as[@]}" "$programs/initdb" -D "$dir/postgresql/data" -U freshgate --auth=trust) > postgresql.log 2>&1 || fail "$(cat postgresql.log)"
  start postgresql "${as[@]}" "$programs/postgres" -D "$dir/postgresql/data" -p "$postgresql_port" -h 127.0.0.1 -k "$dir/postgresql"
  ready() { "$programs/pg_isready" -q -h 127.0.0.1 -p "$postgresql_port"; }
  postgresql_pid=${pids[-1]}
  until_so 60 ready || fail "PostgreSQL does not start: $(tail -5 postgresql.log)"
}

# The gate itself, outside of a Pod and otherwise as the chart has it: its arguments, its account, its rights.
gate_itself() { # helm program store
  local helm=$1 program=$2 store=$3
  helm() { "$helm" --namespace "$namespace" "$@"; }
  kubectl create namespace $namespace > /dev/null
  mkdir -p volume
  local settings=(--set webhook.manage=Enforce --set "webhook.url=https://127.0.0.1:$gate_port/validate" --set network.bindAddress=127.0.0.1
    --set "network.webhookPort=$gate_port" --set "network.adminPort=$admin_port" --set drainDelaySeconds=0 --set 'examplePolicies={first-warnings}'
    --set 'registries.allow={localhost:1}' --set scan.interval=2s --set 'budgets.secrets={prometheus}' --set 'registries.pullSecrets.namespaces={default}'
    --set 'workloadKinds[0].group=apps.kruise.io,workloadKinds[0].kind=CloneSet,workloadKinds[0].resource=clonesets,workloadKinds[0].path=spec.template'
    --set 'rbac.ownerKinds[0].apiGroups={example.dev},rbac.ownerKinds[0].resources={shops}' --set audit.checkpointConfigMap=true --set audit.api=true --set audit.checkpointEvery=1s --set webhook.failurePolicy=Fail --set acknowledge.failWithOneReplica=true)
  if [ "$store" = postgresql ]; then
    bring_postgresql
    settings+=(--set store.type=postgresql --set "store.postgresql.url=postgres://freshgate@127.0.0.1:$postgresql_port/postgres")
  fi
  # What an uninstall has left that broke off: the gate is to take its place.
  "$helm" template freshgate "$chart" --kube-version 1.36 --show-only templates/removal.yaml > removal.yaml
  python3 -c 'import sys, yaml; yaml.safe_dump([one for one in yaml.safe_load_all(open("removal.yaml")) if one and one["kind"].startswith("Validating")][0], sys.stdout)' | kubectl create -f - > /dev/null
  bring_others
  helm install freshgate "$chart" "${settings[@]}" > install.log 2>&1 || fail "$(cat install.log)"
  kubeconfig_of freshgate
  local arguments; mapfile -t arguments < <(helm get manifest freshgate | arguments_of Deployment)

  step "the gate starts with the chart's arguments and rights on $store, and registers itself"
  KUBECONFIG=$dir/freshgate.kubeconfig start gate "$program" "${arguments[@]}"
  local gate_pid=${pids[-1]}
  until_so 60 curl --silent --fail "http://127.0.0.1:$admin_port/readyz" || fail "the gate is not ready: $(tail -5 gate.log)"
  registered() { [ -n "$(kubectl get validatingwebhookconfiguration freshgate --output jsonpath='{.webhooks}')" ]; }
  until_so 60 registered || fail "the gate does not register: $(tail -5 gate.log)"
  for object in "secret/freshgate-tls" "lease/freshgate"; do
    [ "$(kubectl --namespace $namespace get $object --output jsonpath='{.metadata.ownerReferences[0].name}')" = freshgate ] || fail "$object does not go with the release"
  done

  step "what \`helm test\` runs refuses one image and admits another"
  helm template freshgate "$chart" --kube-version 1.36 "${settings[@]}" --show-only templates/tests/dry-run.yaml > test.yaml
  python3 -c 'import sys, yaml; yaml.safe_dump_all([one for one in yaml.safe_load_all(sys.stdin) if one and one["kind"] != "Pod"], sys.stdout)' < test.yaml > test-objects.yaml
  until_so 10 kubectl apply -f test-objects.yaml || fail "$(cat until)"
  kubeconfig_of freshgate-test
  mapfile -t arguments < <(arguments_of Pod < test.yaml)
  KUBECONFIG=$dir/freshgate-test.kubeconfig "$program" "${arguments[@]}" > test.log 2>&1 || fail "$(cat test.log)"
  kubectl delete gatepolicy freshgate-test > /dev/null

  step "a policy of the install warns; metrics and checkpoints are there"
  curl --silent "http://127.0.0.1:$admin_port/metrics" > metrics
  for metric in $(grep -ohE 'freshgate_(leader|webhook_drift|webhook_applied|certificate_not_after_seconds)\b' "$chart/templates/_alerts.tpl" | sort -u); do
    grep -q "^$metric" metrics || fail "$metric is not measured"
  done
  kubectl --namespace default create deployment recorded --image registry.example/app:1 > deployed.log 2>&1 || fail "$(cat deployed.log)"
  grep -q 'first-warnings' deployed.log || fail "the policy of the install does not warn: $(cat deployed.log)"
  until_so 30 there configmap freshgate-checkpoints --namespace $namespace || fail "no checkpoint is kept: $(tail -5 gate.log)"

  step "every right of the chart is used, and no other one is asked for"
  use_rights
  python3 "$here/rights.py" audit.log <(helm get manifest freshgate) || fail "the rights are not those that the gate uses"

  step "an uninstall takes the webhook away although the gate runs and would put it back"
  helm uninstall freshgate > uninstall.log 2>&1 || fail "$(cat uninstall.log)"
  for _ in 1 2 3 4 5 6 7 8; do
    gone validatingwebhookconfiguration freshgate || fail "the gate has put its webhook back: $(tail -5 gate.log)"
    sleep 1
  done
  deploy app > /dev/null || fail "nothing can be deployed"
  kill "$gate_pid"; wait "$gate_pid" 2>/dev/null || true
  # After the release is gone its rights are gone too, so only what came before counts.
  ! sed '/being removed/q' gate.log | grep -i forbidden || fail "the gate lacks rights"
  kubectl delete crd gatepolicies.freshgate.dev budgetsources.freshgate.dev gateexceptions.freshgate.dev > /dev/null
  kubectl delete -f others.yaml > /dev/null
  kill "$prometheus_pid"; wait "$prometheus_pid" 2>/dev/null || true
  rm -r prometheus
  kubectl delete namespace $namespace freshgate-test --wait=false > /dev/null
  until_so 60 gone namespace $namespace || fail "the namespace does not go"
  [ "$store" = sqlite ] || { kill -INT "$postgresql_pid"; wait "$postgresql_pid" 2>/dev/null || true; }
  rm -rf volume
}

tested=
for helm in $helms; do
  major=$("$helm" version --short | sed -E 's/^v([0-9]+).*/\1/')
  case " $tested " in *" $major "*) continue ;; esac
  tested="$tested $major"
  echo "Helm $major: $("$helm" version --short)"
  [ "$tested" != " $major" ] || examples "$helm"
  scenario "$helm"
  # On the one store with one Helm, on the other with the other: each has rights of its own.
  [ -z "${FRESHGATE:-}" ] || gate_itself "$helm" "$program" "$([ "$tested" = " $major" ] && echo sqlite || echo postgresql)"
done
echo "the chart does in front of an API server what it should"
