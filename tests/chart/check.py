"""What must be so in every rendering of the chart, and between the chart and the rest of the repository.

Usage: check.py ROOT RENDERED, where RENDERED has helm-MAJOR/VERSION/EXAMPLE.yaml. Prints what is wrong, and exits 1.
With $FRESHGATE, the gate's program, its CRDs are compared with the chart's, and it reads the arguments of every example.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import yaml

import readme
import values as described

ROOT, RENDERED = (pathlib.Path(one) for one in sys.argv[1:])
CHART = ROOT / "charts/freshgate"
NAMESPACE = "freshgate-system"
CLUSTER_SCOPED = {
    "Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "ValidatingWebhookConfiguration", "GatePolicy",
}
# The one in C, where it is there.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
wrong = []


def expect(so, where, what):
    if not so:
        wrong.append(f"{where}: {what}")


def read(path):
    return (ROOT / path).read_text()


def annotations(one):
    return one["metadata"].get("annotations") or {}


def hook_events(one):
    return [event.strip() for event in annotations(one).get("helm.sh/hook", "").split(",") if event]


class Rendering:
    """The objects of one example, and what its values say."""

    def __init__(self, example):
        self.name = example
        path = RENDERED / sorted(p.name for p in RENDERED.iterdir())[0] / "1.30" / f"{example}.yaml"
        self.objects = [one for one in yaml.load_all(path.read_text(), LOADER) if one]
        self.values = merged(yaml.safe_load((CHART / "values.yaml").read_text()), yaml.safe_load((CHART / f"ci/{example}-values.yaml").read_text()))

    def of(self, kind):
        """Objects of a kind that are no hooks."""
        return [one for one in self.objects if one["kind"] == kind and not hook_events(one)]

    @property
    def pod(self):
        return self.of("Deployment")[0]["spec"]["template"]["spec"]

    @property
    def arguments(self):
        return self.pod["containers"][0]["args"]

    def argument(self, flag):
        found = [one.partition("=")[2] for one in self.arguments if one.partition("=")[0] == flag]
        return found[0] if found else None


def merged(under, over):
    result = dict(under)
    for key, value in (over or {}).items():
        result[key] = merged(under[key], value) if isinstance(value, dict) and isinstance(under.get(key), dict) else value
    return result


def objects_are_whole(one):
    seen = set()
    for item in one.objects:
        kind, meta = item["kind"], item["metadata"]
        where = f"{one.name}: {kind} {meta['name']}"
        is_cluster_scoped = kind in CLUSTER_SCOPED
        expect(is_cluster_scoped != ("namespace" in meta), where, "a namespace where there is none, or none where there is one")
        key = (item["apiVersion"], kind, meta.get("namespace"), meta["name"], tuple(hook_events(item)))
        expect(key not in seen, where, "is there twice")
        seen.add(key)
        if not hook_events(item):
            expect(meta["labels"].get("app.kubernetes.io/managed-by") == "Helm", where, "lacks the usual labels")
            for label, value in (one.values["commonLabels"] or {}).items():
                expect(meta["labels"].get(label) == value, where, f"lacks the common label {label}")


def pods_are_restricted(one):
    tests = [item["spec"] for item in one.objects if item["kind"] == "Pod"]
    expect(len(tests) == 1, one.name, "should have one test Pod")
    for pod in [one.pod, *tests]:
        context = pod["securityContext"]
        expect(context["runAsNonRoot"] and context["runAsUser"] > 0, one.name, "a Pod may be root")
        expect(context["seccompProfile"]["type"] == "RuntimeDefault", one.name, "a Pod has no seccomp profile")
        for volume in pod.get("volumes", []):
            kinds = set(volume) - {"name"}
            kinds |= {kind for source in volume.get("projected", {}).get("sources", []) for kind in source}
            expect(kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim", "projected"}, one.name, f"a volume is {kinds}")
        for container in pod["containers"]:
            own = container["securityContext"]
            expect(own["readOnlyRootFilesystem"], one.name, "a root file system can be written")
            expect(own["allowPrivilegeEscalation"] is False and own["capabilities"]["drop"] == ["ALL"], one.name, "a container has rights")
            expect("requests" in container["resources"], one.name, "a container asks for nothing")
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            expect(mounts == {volume["name"] for volume in pod.get("volumes", [])}, one.name, "mounts and volumes differ")
    expect(one.pod.get("hostNetwork", False) == one.values["network"]["hostNetwork"], one.name, "hostNetwork is not as the values say")


def replicas_replace_each_other(one):
    deployment = one.of("Deployment")[0]["spec"]
    replicas, strategy = one.values["replicas"], deployment["strategy"]
    if one.values["store"]["type"] == "sqlite":
        expect(strategy == {"type": "Recreate"}, one.name, "two Pods would share a SQLite file")
    elif one.values["network"]["hostNetwork"]:
        expect(strategy["rollingUpdate"]["maxSurge"] == 0, one.name, "a new Pod would wait for the port of an old one")
    else:
        expect(strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, one.name, "an update leaves a gap")
    budgets = one.of("PodDisruptionBudget")
    expect(len(budgets) == (1 if replicas > 1 else 0), one.name, "a disruption budget for one replica blocks drains, for several it is missing")
    drain, answer = int(one.argument("--drain-delay-seconds")), int(one.argument("--webhook-timeout-seconds"))
    expect(one.pod["terminationGracePeriodSeconds"] > drain + answer, one.name, "a Pod is killed before its last answer")
    container = one.pod["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        expect(container[probe]["httpGet"]["port"] == "admin", one.name, f"{probe} asks another listener")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    expect(one.argument("--listen").endswith(f":{ports['https']}"), one.name, "the port for reviews is another")
    expect(one.argument("--admin-listen").endswith(f":{ports['admin']}"), one.name, "the port for probes is another")


def what_is_kept(one):
    kept = not one.values["purge"]
    for kind in ("CustomResourceDefinition", "PersistentVolumeClaim"):
        for item in one.of(kind):
            keeps = annotations(item).get("helm.sh/resource-policy") == "keep"
            expect(keeps == kept, f"{one.name}: {kind} {item['metadata']['name']}", "is kept by a purge, or not kept without")
    expect(len(one.of("CustomResourceDefinition")) == (3 if one.values["crds"]["install"] else 0), one.name, "CRDs are missing")
    policies = [item for item in one.objects if item["kind"] == "GatePolicy" and "test" not in hook_events(item)]
    wanted = set(one.values["policies"]) | set(one.values["examplePolicies"])
    expect({item["metadata"]["name"] for item in policies} == wanted, one.name, "policies are missing")
    for item in policies:
        expect(hook_events(item) == ["post-install"], one.name, "Helm cannot read a policy before its kind is there")
        expect("before-hook-creation" not in annotations(item)["helm.sh/hook-delete-policy"], one.name, "a policy would be deleted to be made")


def webhook_is_the_gates(one):
    rendered = one.of("ValidatingWebhookConfiguration")
    is_managed = one.values["webhook"]["manage"] is not False
    expect(len(rendered) == (0 if is_managed else 1), one.name, "the configuration is rendered where the gate makes it, or is not")
    expect((one.argument("--webhook-configuration") is not None) == is_managed, one.name, "gate and chart make a configuration, or none")
    expect(one.argument("--webhook-timeout-seconds") == str(one.values["webhook"]["timeoutSeconds"]), one.name, "the deadline is another")
    owner = one.argument("--webhook-owner")
    expect(owner in [item["metadata"]["name"] for item in one.of("ClusterRole")], one.name, "the owner is not there")
    if is_managed:
        excluded = one.argument("--webhook-exclude-namespace").split(",")
        service = one.argument("--webhook-service")
        expect((service is None) == bool(one.values["webhook"]["url"]), one.name, "called by URL and by Service, or by none")
    else:
        static_webhook(one, rendered[0])
        excluded = rendered[0]["webhooks"][0]["namespaceSelector"]["matchExpressions"][0]["values"]
        service = None if one.values["webhook"]["url"] else rendered[0]["webhooks"][0]["clientConfig"]["service"]["name"]
    for name in ("kube-system", NAMESPACE, *one.values["webhook"]["excludeMoreNamespaces"]):
        expect(name in excluded, one.name, f"namespace {name} is not left out")
    if service is not None:
        services = [item for item in one.of("Service") if item["metadata"]["name"] == service]
        expect(bool(services), one.name, f"there is no Service {service}")
        selector = services[0]["spec"]["selector"].items()
        labels = one.of("Deployment")[0]["spec"]["template"]["metadata"]["labels"].items()
        expect(selector <= labels, one.name, "the Service selects other Pods")
        if one.values["certificates"]["mode"] == "inProcess":
            expect(f"{service}.{NAMESPACE}.svc" in one.argument("--tls-name").split(","), one.name, "the certificate has another name")


def static_webhook(one, rendered):
    entries = {entry["name"]: entry for entry in rendered["webhooks"]}
    timeout = one.values["webhook"]["timeoutSeconds"]
    expect(all(entry["timeoutSeconds"] == timeout for entry in entries.values()), one.name, "an entry has another deadline")
    expect(all(entry["sideEffects"] == "NoneOnDryRun" for entry in entries.values()), one.name, "an entry has other side effects")
    policies = {name.split(".")[0]: entry["failurePolicy"] for name, entry in entries.items()}
    wanted = {"workloads": one.values["webhook"]["failurePolicy"], "owned": "Ignore", "deleted": "Ignore", "exceptions": "Fail"}
    expect(policies == wanted, one.name, f"failure policies are {policies}, not {wanted}")
    expect("kubernetes.io/metadata.name" in json.dumps(entries["workloads.freshgate.dev"]["namespaceSelector"]), one.name, "namespaces are left out by label")
    authority = "cert-manager.io/inject-ca-from" in annotations(rendered) or "caBundle" in rendered["webhooks"][0]["clientConfig"]
    expect(authority, one.name, "nobody tells the API server whom to trust")
    # The gate makes the same by itself.
    source = read("src/webhook.rs")
    for operation, name in (("MADE", "workloads"), ("MADE", "owned"), ("DELETED", "deleted")):
        gates = {(group, resource) for group, resources in re.findall(rf'rule\("([^"]*)", "[^"]*", {operation}, &\[(.*?)\]\)', source) for resource in re.findall(r'"(.*?)"', resources)}
        gates -= {("freshgate.dev", "gateexceptions")}
        own = {(group, resource) for rule in entries[f"{name}.freshgate.dev"]["rules"] for group in rule["apiGroups"] for resource in rule["resources"] if group in ("", "apps", "batch")}
        expect(gates == own, one.name, f"{name} reaches {own}, and the gate's own configuration {gates}")
    conditions = dict(re.findall(r'pub const (\w+): &str = "(.*)";', read("src/webhook/conditions.rs")))
    for name, constant, entry in (("no-controller", "NO_CONTROLLER", "workloads"), ("controller", "CONTROLLER", "owned")):
        found = {condition["name"]: condition["expression"] for condition in entries[f"{entry}.freshgate.dev"]["matchConditions"]}
        expect(found[name] == conditions[constant].replace('\\"', '"'), one.name, f"{name} is {found[name]}, and in the gate {conditions[constant]}")


def removal_needs_no_pod(one):
    before = [item for item in one.objects if "pre-delete" in hook_events(item)]
    expect([item["kind"] for item in before] == ["ValidatingWebhookConfiguration"], one.name, "before a removal more is needed than the API server")
    for item in before:
        expect(item["metadata"]["name"] == one.values["webhook"]["name"] and item["webhooks"] == [], one.name, "another configuration is removed")
        expect(annotations(item)["helm.sh/hook-delete-policy"] == "before-hook-creation", one.name, "it would not take the webhook's place till the end")
        expect(annotations(item)["freshgate.dev/removed"] == "true", one.name, "a gate that still runs would put it back")
    after = {(item["kind"], item["metadata"]["name"]): item for item in one.objects if "post-delete" in hook_events(item)}
    expect(all("hook-succeeded" in annotations(item)["helm.sh/hook-delete-policy"] for item in after.values()), one.name, "something is left")
    fullname = one.of("Deployment")[0]["metadata"]["name"]
    wanted = {("ValidatingWebhookConfiguration", one.values["webhook"]["name"]), ("Lease", fullname)}
    if one.values["certificates"]["mode"] == "inProcess":
        wanted.add(("Secret", one.argument("--tls-secret")))
    if one.values["purge"]:
        wanted |= {("Secret", one.argument("--signing-secret")), ("ConfigMap", one.argument("--checkpoint-config-map"))}
    expect(set(after) == wanted, one.name, f"after a removal {set(after)} go, not {wanted}")


def rights_are_few(one):
    for kind in ("ClusterRole", "Role"):
        for role in one.of(kind):
            where = f"{one.name}: {kind} {role['metadata']['name']}"
            for rule in role["rules"]:
                words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
                expect("*" not in words, where, "has a rule with a star")
                expect(kind == "Role" or "secrets" not in rule["resources"], where, "reads Secrets in the whole cluster")
                if "secrets" in rule["resources"] and rule["verbs"] != ["create"]:
                    is_of_team = role["metadata"].get("namespace") in one.values["registries"]["pullSecrets"]["namespaces"]
                    expect(is_of_team or rule.get("resourceNames"), where, "reads Secrets that nobody named")
    bound = {item["roleRef"]["name"] for kind in ("ClusterRoleBinding", "RoleBinding") for item in one.of(kind)}
    fullname = one.of("Deployment")[0]["metadata"]["name"]
    expect(bound <= {fullname, f"{fullname}-pull-secrets"}, one.name, f"roles for people are bound: {bound}")
    reads_pull_secrets = "--read-pull-secrets" in one.arguments
    expect(reads_pull_secrets == bool(one.values["registries"]["pullSecrets"]["namespaces"]), one.name, "pull secrets are read, or are not, unlike the values say")
    granter = [role for role in one.of("ClusterRole") if role["metadata"]["name"].endswith("-exception-granter")][0]
    reasons = re.findall(r"Self::\w+ => \"([a-z-]+)\"", read("src/exception/api.rs"))
    verbs = {f"grant-{reason}" for reason in reasons}
    expect(verbs and set(granter["rules"][0]["verbs"]) == verbs, one.name, f"the granter does not have the verbs {verbs}")


def traffic_is_named(one):
    policies = one.of("NetworkPolicy")
    expect(len(policies) == (1 if one.values["networkPolicy"]["enabled"] else 0), one.name, "the NetworkPolicy is not as the values say")
    for policy in policies:
        expect(policy["spec"]["policyTypes"] == ["Ingress", "Egress"], one.name, "traffic of one direction is free")
        ingress = {rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]}
        expect(ingress == {one.values["network"]["webhookPort"], one.values["network"]["adminPort"]}, one.name, "other ports are open")
        egress = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
        named = set(re.findall(r":(\d+)", " ".join(one.values["registries"]["private"] + one.values["registries"]["insecure"])))
        named |= set(re.findall(r":(\d+)", one.values["otlp"]["endpoint"])) | set(re.findall(r":(\d+)/", one.values["store"]["postgresql"]["url"]))
        expect({int(port) for port in named} <= egress, one.name, f"ports that values name are shut: {named}")
        expect({53, 443, 6443} <= egress, one.name, "names or the API server cannot be reached")


def indexes_come_into_force(one):
    settings = one.values["scan"]["indexes"]["settings"]
    maps = [item for item in one.of("ConfigMap") if item["metadata"]["name"].endswith("-indexes")]
    expect(bool(settings) == bool(maps) == bool(one.argument("--indexes")), one.name, "indexes are named and not asked, or the other way")
    template = one.of("Deployment")[0]["spec"]["template"]
    expect(bool(settings) == ("checksum/indexes" in annotations(template)), one.name, "other settings of indexes would not start the gate anew")
    if settings:
        expect(yaml.safe_load(maps[0]["data"]["indexes.yaml"]) == settings, one.name, "the settings of indexes are changed on the way")
        sources = [volume["projected"]["sources"] for volume in one.pod["volumes"] if volume["name"] == "indexes"][0]
        files = {source["secret"]["name"] for source in sources if "secret" in source}
        expect(files == {one.values["scan"]["indexes"]["existingSecret"]} - {""}, one.name, "the files that settings name are not beside them")
        ports = {port["port"] for policy in one.of("NetworkPolicy") for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
        urls = [index.get("url", "") for index in [*settings.get("indexes", []), settings.get("endOfLife", {})]]
        for url in filter(None, urls):
            port = re.search(r"://[^/]*:(\d+)", url)
            port = int(port.group(1)) if port else 443 if "https://" in url else 80
            expect(not ports or port in ports, one.name, f"the NetworkPolicy shuts {url}")


def flags_exist(one, known):
    expect(one.arguments[0] == "serve", one.name, "another command")
    for argument in one.arguments[1:]:
        flag = argument.partition("=")[0]
        expect(flag in known, one.name, f"the gate has no flag {flag}")
        expect("=" not in argument or argument.partition("=")[2] != "", one.name, f"{flag} is empty")


def gate_reads(one, program):
    """The gate itself reads the arguments: with --help behind them it reads all and does nothing."""
    arguments = [argument.replace("$(", "").replace(")", "").lower() if "$(" in argument else argument for argument in one.arguments]
    environment = {"FRESHGATE_STORE": "postgres://gate@db/audit"} if one.values["store"]["type"] == "postgresql" else {}
    said = subprocess.run([program, *arguments, "--help"], capture_output=True, text=True, env=environment)
    expect(said.returncode == 0, one.name, f"the gate does not read its arguments: {said.stderr.splitlines()[:1]}")


def test_is_small(one):
    hooks = [item for item in one.objects if "test" in hook_events(item)]
    kinds = sorted(item["kind"] for item in hooks)
    expect(kinds == ["GatePolicy", "Namespace", "Pod", "Role", "RoleBinding", "ServiceAccount"], one.name, f"the test makes {kinds}")
    policy = [item for item in hooks if item["kind"] == "GatePolicy"][0]
    expect(policy["spec"]["match"] == {"namespaces": [one.values["tests"]["namespace"]]}, one.name, "the test's policy is for others too")


def versions_do_not_matter():
    def objects(path):
        return sorted(json.dumps(one, sort_keys=True) for one in yaml.load_all(path.read_text(), LOADER) if one)

    helms = sorted(RENDERED.iterdir())
    first = helms[0] / "1.30"
    expect(len(list(first.iterdir())) == len(list((CHART / "ci").iterdir())) > 0, "examples", "not all were rendered")
    for helm in helms:
        for path in sorted((helm / "1.30").iterdir()):
            expect(objects(path) == objects(first / path.name), f"{helm.name} {path.name}", f"is another than with {helms[0].name}")
            for version in sorted(helm.iterdir()):
                expect((version / path.name).read_text() == path.read_text(), f"{helm.name} {version.name} {path.name}", "is another than for 1.30")


def metrics_exist(rendered):
    source = read("src/metrics.rs") + read("src/metrics/scan.rs")
    known = set()
    counters = set(re.findall(r"pub (\w+): (?:Counter|Family<\w+, Counter>)", source))
    histograms = set(re.findall(r"pub (\w+): Histogram", source))
    for unit, name, field in re.findall(r"register(_with_unit)?\(\s*\"(\w+)\",(?:.*?)self\.(\w+)\.clone\(\)", source, re.S):
        full = f"freshgate_{name}" + ("_seconds" if unit else "")
        known |= {f"{full}_bucket", f"{full}_sum", f"{full}_count"} if field in histograms else {f"{full}_total" if field in counters else full}
    expect(len(known) > 40, "src/metrics.rs", "the metrics could not be read")
    named = {"dashboard": set(), "alerts": set()}
    for one in rendered:
        for item in one.of("PrometheusRule"):
            for rule in item["spec"]["groups"][0]["rules"]:
                named["alerts"] |= set(re.findall(r"freshgate_\w+", rule["expr"]))
        for item in one.of("ConfigMap"):
            if "freshgate.json" in item.get("data", {}):
                expect(item["metadata"]["labels"].get("grafana_dashboard") == "1", one.name, "Grafana does not find the dashboard")
                expect(set(item["data"]) == {"freshgate.json", "dependencies.json"}, one.name, "a dashboard is missing")
                panels = [panel for text in item["data"].values() for panel in json.loads(text)["panels"]]
                for panel in panels:
                    for target in panel.get("targets", []):
                        named["dashboard"] |= set(re.findall(r"freshgate_\w+", target["expr"]))
    for where, names in named.items():
        expect(len(names) > 15, where, f"names few metrics: {names}")
        expect(names <= known, where, f"names metrics that the gate does not have: {sorted(names - known)}")


def schema_is_of_the_values():
    text = (CHART / "values.yaml").read_text()
    values, schema = yaml.safe_load(text), json.loads((CHART / "values.schema.json").read_text())
    all_described = {value.path: value for value in described.described(text)}
    for path in described.leaves(values, set(all_described)):
        expect(path in all_described, "values.yaml", f"{'.'.join(path)} has no description")

    def walk(part, value, path):
        where = f"values.schema.json: {'.'.join(path) or 'the whole'}"
        expect(not path or part.get("description"), where, "has no description")
        if path in all_described:
            expect(part["description"] == all_described[path].description, where, "is described otherwise than in values.yaml")
            return
        expect(part.get("additionalProperties") is not None and part.get("additionalProperties") is not True, where, "lets in what it does not know")
        expect(set(part["properties"]) == set(value), where, f"schema and values differ: {set(part['properties']) ^ set(value)}")
        for key in set(part["properties"]) & set(value):
            walk(part["properties"][key], value[key], path + (key,))

    walk(schema, values, ())
    templates = "\n".join(path.read_text() for path in sorted((CHART / "templates").rglob("*")) if path.is_file())
    for path in all_described:
        parents = [".".join(path[-count:]) for count in range(len(path), 0, -1)]
        expect(path == ("global",) or path[0] == "resources" or any(f".{key}" in templates for key in parents), "values.yaml", f"{'.'.join(path)} is read by no template")


def repository_agrees():
    text = (CHART / "README.md").read_text()
    expect(text == readme.readme(), "README.md", "is not of these values: run tests/chart/readme.py")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.*)"', read("Cargo.toml"), re.M).group(1)
    expect(chart["appVersion"] == version, "Chart.yaml", f"appVersion is not {version}, the version of Cargo.toml")
    for path in (ROOT / "policies").glob("*.yaml"):
        copy = CHART / "files/policies" / path.name
        expect(copy.exists() and copy.read_text() == path.read_text(), f"files/policies/{path.name}", "differs from policies/")
    crds = [one for one in yaml.safe_load_all((CHART / "files/crds.yaml").read_text())]
    told = {one["name"]: one["kind"] for one in yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])}
    expect(told == {one["metadata"]["name"]: one["spec"]["names"]["kind"] for one in crds}, "Chart.yaml", "artifacthub.io/crds is not of the CRDs")
    rbac = (CHART / "templates/rbac.yaml").read_text() + (CHART / "templates/roles-for-people.yaml").read_text()
    lines = [line for line in rbac.splitlines() if not line.startswith("{{")]
    last_comment, unsaid = None, []
    for number, line in enumerate(lines):
        if line.startswith("#"):
            last_comment = line
        elif line.startswith("---"):
            last_comment = None
        elif line.startswith("- apiGroups") and last_comment is None:
            unsaid.append(line)
    expect(not unsaid, "rbac.yaml", f"rules without a word why: {unsaid}")


def crds_are_the_charts(one):
    source = {crd["metadata"]["name"]: crd["spec"] for crd in yaml.safe_load_all((CHART / "files/crds.yaml").read_text())}
    for item in one.of("CustomResourceDefinition"):
        expect(item["spec"] == source[item["metadata"]["name"]], one.name, f"{item['metadata']['name']} was changed on the way")


def main():
    flags = set()
    for path in [ROOT / "src/args.rs", *sorted((ROOT / "src/args").rglob("*.rs"))]:
        text = path.read_text()
        for attributes, field in re.findall(r"#\[arg\((.*?)\)\]\s*pub (\w+):", text, re.S):
            if re.search(r"\blong\b", attributes):
                flags.add("--" + field.replace("_", "-"))
    program = os.environ.get("FRESHGATE")
    if program:
        printed = subprocess.run([program, "crds"], capture_output=True, text=True, check=True).stdout
        expect(printed == (CHART / "files/crds.yaml").read_text(), "files/crds.yaml", "is not what `freshgate crds` prints")
    rendered = [Rendering(path.name.removesuffix("-values.yaml")) for path in sorted((CHART / "ci").iterdir())]
    for one in rendered:
        objects_are_whole(one)
        pods_are_restricted(one)
        replicas_replace_each_other(one)
        what_is_kept(one)
        crds_are_the_charts(one)
        webhook_is_the_gates(one)
        removal_needs_no_pod(one)
        rights_are_few(one)
        traffic_is_named(one)
        indexes_come_into_force(one)
        flags_exist(one, flags)
        test_is_small(one)
        if program:
            gate_reads(one, program)
    versions_do_not_matter()
    metrics_exist(rendered)
    schema_is_of_the_values()
    repository_agrees()
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if not wrong:
        print(f"{len(rendered)} examples, {sum(len(one.objects) for one in rendered)} objects: all as they must be")
    sys.exit(1 if wrong else 0)


main()
