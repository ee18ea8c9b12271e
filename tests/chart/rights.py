"""Compares what the chart lets the gate do with what the gate asked an API server for, by the server's own audit log.

Usage: rights.py AUDIT_LOG MANIFESTS. Prints rights that were not used and are not named here, and requests that were refused.
"""
import json
import sys

import yaml

# Rights that need what is not in front of this API server.
NOT_TRIED = {
    ("argoproj.io", "rollouts"): "Argo Rollouts is not there",
    ("serving.knative.dev", "services"): "Knative is not there",
    ("serving.knative.dev", "configurations"): "Knative is not there",
    ("serving.knative.dev", "revisions"): "Knative is not there",
    ("openreports.io", "reports"): "OpenReports is not there",
    ("wgpolicyk8s.io", "policyreports"): "its reports are not there",
    ("sloth.slok.dev", "prometheusservicelevels"): "a Prometheus must answer first",
    ("pyrra.dev", "servicelevelobjectives"): "a Prometheus must answer first",
    ("", "configmaps", "get"): "no source with OpenSLO documents",
    ("", "namespaces", "get"): "only for a namespace that the watch has not brought yet",
    ("", "secrets", "update"): "no certificate is replaced so soon",
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "create"): "an apply that makes something is logged as patch",
}

log, manifests = sys.argv[1:]
used, allowed, refused = set(), set(), set()
for line in open(log):
    event = json.loads(line)
    reference = event.get("objectRef", {})
    resource = "/".join(filter(None, [reference.get("resource"), reference.get("subresource")]))
    right = (reference.get("apiGroup", ""), resource, event["verb"])
    asked = (*right, reference.get("namespace", ""), reference.get("name", ""))
    if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
        refused.add(asked)
    else:
        used.add(right)
        allowed.add(asked)

granted = set()
for one in yaml.safe_load_all(open(manifests)):
    if one and one["kind"] in ("ClusterRole", "Role") and one["metadata"]["name"] == "freshgate":
        for rule in one["rules"]:
            granted |= {(group, resource, verb) for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}

unused = sorted(right for right in granted - used if right not in NOT_TRIED and right[:2] not in NOT_TRIED)
for right in unused:
    print(f"error: the gate did not use {right}: take it out of templates/rbac.yaml, or say here why it could not", file=sys.stderr)
# The API server learns of new rights a moment after they were given; what is refused then is granted soon.
refused -= allowed
for right in sorted(refused):
    print(f"error: the gate was refused {right}", file=sys.stderr)
print(f"    {len(granted)} rights, {len(granted & used)} used", file=sys.stderr)
sys.exit(1 if unused or refused else 0)
