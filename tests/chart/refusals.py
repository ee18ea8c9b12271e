"""What the chart must refuse, and the words that it must say: each names the line to change."""
import subprocess
import sys

import yaml

helm, chart = sys.argv[1:]
POSTGRESQL = ["store.type=postgresql", "store.postgresql.url=postgres://gate@db/audit"]

REFUSED = [
    # What does not go together (templates/validate.yaml).
    (["replicas=2"], ["a SQLite file has one writer", "`replicas: 2` to `replicas: 1`", "`store.type: postgresql`"]),
    (["webhook.failurePolicy=Fail"], ["nobody can deploy", "`replicas: 1` to `replicas: 2`", "`acknowledge.failWithOneReplica: true`"]),
    (["webhook.failurePolicy=Fail", "replicas=1", *POSTGRESQL], ["`replicas: 1` to `replicas: 2`"]),
    (["store.type=postgresql"], ["no address is given", "`store.postgresql.url: postgres://"]),
    (["store.type=postgresql", "store.postgresql.url=postgres://gate:word@db/audit"], ["holds a password", "`store.postgresql.existingSecret`"]),
    (["audit.durability=Journal", *POSTGRESQL], ["no disk that outlives it", "`audit.durability: Journal` to `Store`"]),
    (["audit.durability=Store"], ["`audit.durability: Store` to `Journal`"]),
    (["audit.durability=Async", "audit.mode=Strict"], ["`audit.mode: Strict` to `BestEffort`"]),
    (["certificates.mode=existingSecret"], ["Set `certificates.existingSecret`"]),
    (["webhook.manage=false"], ["`webhook.manage: false` to `true`", "`certManager`"]),
    (["webhook.manage=false", "certificates.mode=existingSecret", "certificates.existingSecret=tls"], ["Set `webhook.caBundle`"]),
    (["webhook.caBundle=-----BEGIN CERTIFICATE-----"], ["Take out `webhook.caBundle`"]),
    (["webhook.clientCertificate.caSecret=ca"], ["Set `webhook.clientCertificate.names`"]),
    (["serviceAccount.create=false"], ["Set `serviceAccount.name`"]),
    (["network.adminPort=8443"], ["are both 8443"]),
    (["otlp.headersSecret=headers"], ["Set `otlp.endpoint`"]),
    (["scan.indexes.settings.private={npm:@acme/*}", "scan.interval=0s"], ["no index is asked", "`scan.indexes.settings`"]),
    (["scan.indexes.existingSecret=tokens"], ["Set `scan.indexes.settings`"]),
    (["examplePolicies={production,none}"], ['names "none"', "enforced-later, first-warnings, production, strict"]),
    (["examplePolicies={strict}", "policies.strict.validationActions={Warn}"], ['"strict" is in policies and in examplePolicies']),
    (["tests.namespace=freshgate-system"], ["Change `tests.namespace`"]),
    # What a value may be (values.schema.json).
    (["webhook.timeoutSeconds=2"], ["/webhook/timeoutSeconds", "minimum: got 2, want 3"]),
    (["webhook.timeoutSeconds=31"], ["/webhook/timeoutSeconds", "maximum: got 31, want 30"]),
    (["webhook.failurePolicy=fail"], ["/webhook/failurePolicy", "'Ignore', 'Fail'"]),
    (["webhook.manage=maybe"], ["/webhook/manage", "'Enforce'"]),
    (["webhook.url=http://gate/validate"], ["/webhook/url"]),
    (["webhok.failurePolicy=Fail"], ["'webhok' not allowed"]),
    (["store.type=mysql"], ["/store/type", "'sqlite', 'postgresql'"]),
    (["certificates.lifetime=3 months"], ["/certificates/lifetime"]),
    (["scan.indexes.settings.indexes[0].kind=npm"], ["/scan/indexes/settings/indexes/0/kind", "'Npm'"]),
    (["scan.indexes.settings.endOfLife.url=eol.example"], ["/scan/indexes/settings/endOfLife/url"]),
    (["image.digest=latest"], ["/image/digest"]),
    (["audit.retainFor=never"], ["/audit/retainFor"]),
    (["replicas=two"], ["/replicas", "want integer"]),
    (["workloadKinds[0].kind=CloneSet"], ["/workloadKinds/0", "'group', 'resource', 'path'"]),
]


def render(settings):
    sets = [part for one in settings for part in ("--set", one)]
    return subprocess.run(
        [helm, "template", "freshgate", chart, "--namespace", "freshgate-system", "--kube-version", "1.30", *sets],
        capture_output=True,
        text=True,
    )


wrong = 0
for settings, words in REFUSED:
    result = render(settings)
    said = result.stderr
    missing = [word for word in words if word not in said]
    if result.returncode == 0 or missing:
        wrong += 1
        print(f"error: {settings}: {'not refused' if result.returncode == 0 else f'said nothing of {missing}'}:\n{said}", file=sys.stderr)
sys.exit(1 if wrong else 0)
