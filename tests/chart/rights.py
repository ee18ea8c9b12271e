"""Compares what the chart lets the gate do with what the gate asked an API server for, by the server's own audit log.

Usage: rights.py AUDIT_LOG MANIFESTS. Prints rights that were not used, and requests that were refused.
"""
import json
import sys

import yaml

# An apply that makes something asks for both and is logged as patch alone. api_server.sh shows that the one does not do
# without the other.
LOGGED_AS_PATCH = {
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("openreports.io", "reports"),
    ("wgpolicyk8s.io", "policyreports"),
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
        if right[:2] in LOGGED_AS_PATCH and right[2] == "patch":
            used.add((*right[:2], "create"))
        allowed.add(asked)

granted, with_pull_secrets = set(), set()
for one in yaml.safe_load_all(open(manifests)):
    # Those of its name, and those that are for it in other namespaces. The others are for people, and for `helm test`.
    if one and one["kind"] in ("ClusterRole", "Role") and one["metadata"]["name"] in ("freshgate", "freshgate-pull-secrets"):
        if one["metadata"]["name"].endswith("-pull-secrets"):
            with_pull_secrets.add(one["metadata"]["namespace"])
        for rule in one["rules"]:
            granted |= {(group, resource, verb) for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}

unused = sorted(granted - used)
for right in unused:
    print(f"error: the gate did not use {right}: take it out of templates/rbac.yaml, or have api_server.sh need it", file=sys.stderr)
# The API server learns of new rights a moment after they were given; what is refused then is granted soon.
refused -= allowed
# Who may not know a namespace's pull secrets finds out by asking.
refused = {right for right in refused if right[1:3] != ("serviceaccounts", "get") or right[3] in with_pull_secrets}
for right in sorted(refused):
    print(f"error: the gate was refused {right}", file=sys.stderr)
print(f"    {len(granted)} rights, {len(granted & used)} used", file=sys.stderr)
sys.exit(1 if unused or refused else 0)
