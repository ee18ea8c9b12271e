"""Compares what the chart lets the gate do with what the gate asked an API server for, by the server's own audit log.

Usage: rights.py AUDIT_LOG MANIFESTS. Prints rights that were not used, and requests that were refused.
"""
import json
import sys

import yaml

log, manifests = sys.argv[1:]
allowed, refused = set(), set()
for line in open(log):
    event = json.loads(line)
    reference = event.get("objectRef", {})
    resource = "/".join(filter(None, [reference.get("resource"), reference.get("subresource")]))
    asked = (reference.get("apiGroup", ""), resource, event["verb"], reference.get("name", ""), reference.get("namespace", ""))
    if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
        refused.add(asked)
        continue
    allowed.add(asked)
    # An apply that makes something is logged as patch and asks for both rights: api_server.sh shows that the one does not do
    # without the other.
    if event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201:
        allowed.add((*asked[:2], "create", *asked[3:]))

# A right is of a name where the rule gives one, and of a namespace where a Role does.
granted, with_pull_secrets = set(), set()
for one in yaml.safe_load_all(open(manifests)):
    # Those of its name, and those that are for it in other namespaces. The others are for people, and for `helm test`.
    if one and one["kind"] in ("ClusterRole", "Role") and one["metadata"]["name"] in ("freshgate", "freshgate-pull-secrets"):
        namespace = one["metadata"].get("namespace")
        if one["metadata"]["name"].endswith("-pull-secrets"):
            with_pull_secrets.add(namespace)
        for rule in one["rules"]:
            names = rule.get("resourceNames") or [None]
            granted |= {(group, resource, verb, name, namespace) for group in rule["apiGroups"] for resource in rule["resources"]
                        for verb in rule["verbs"] for name in names}


def is_used(right):
    return any(all(wanted in (None, got) for wanted, got in zip(right, asked)) for asked in allowed)


unused = sorted((right for right in granted if not is_used(right)), key=str)
for right in unused:
    print(f"error: the gate did not use {right}: take it out of templates/rbac.yaml, or have api_server.sh need it", file=sys.stderr)
# The API server learns of new rights a moment after they were given; what is refused then is granted soon.
refused -= allowed
# Who may not know a namespace's pull secrets finds out by asking.
refused = {asked for asked in refused if asked[1:3] != ("serviceaccounts", "get") or asked[4] in with_pull_secrets}
for asked in sorted(refused):
    print(f"error: the gate was refused {asked}", file=sys.stderr)
print(f"    {len(granted)} rights, {len(granted) - len(unused)} used", file=sys.stderr)
sys.exit(1 if unused or refused else 0)
