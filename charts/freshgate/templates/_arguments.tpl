{{/* Arguments of `freshgate serve`, as a list in YAML. One word each, and what is empty is left out. */}}
{{- define "freshgate.arguments" -}}
{{- $fullname := include "freshgate.fullname" . -}}
{{- $values := .Values -}}
- serve
- --kubernetes
- --id=$(POD_NAME)
- --own-namespace=$(POD_NAMESPACE)
- --listen={{ .Values.network.bindAddress }}:{{ .Values.network.webhookPort }}
- --admin-listen={{ .Values.network.bindAddress }}:{{ .Values.network.adminPort }}
- --leader-lease={{ $fullname }}
- --drain-delay-seconds={{ .Values.drainDelaySeconds }}
{{- if eq .Values.store.type "sqlite" }}
- --store=sqlite:/var/lib/freshgate/decisions.db
{{- else }}
- --signing-secret={{ $fullname }}-signing
{{- with .Values.store.postgresql.url }}
- {{ printf "--store=%s" . | toJson }}
{{- end }}
{{- if ne (include "freshgate.durability" .) "Store" }}
- --audit-journal=/var/lib/freshgate/journal
{{- end }}
{{- end }}
- --audit-durability={{ include "freshgate.durability" . | lower }}
- --audit-mode={{ .Values.audit.mode | kebabcase }}
- --audit-level={{ .Values.audit.level | lower }}
- --retain-for={{ .Values.audit.retainFor }}
{{- with .Values.audit.retainBytes }}
- --retain-bytes={{ . }}
{{- end }}
- --checkpoint-every={{ .Values.audit.checkpointEvery }}
{{- if .Values.audit.checkpointConfigMap }}
- --checkpoint-config-map={{ $fullname }}-checkpoints
{{- end }}
{{- if .Values.audit.api }}
- --decisions-api
{{- end }}
{{- if eq .Values.certificates.mode "inProcess" }}
- --tls-secret={{ include "freshgate.tlsSecretName" . }}
- --tls-name={{ include "freshgate.dnsNames" . }}
- --tls-lifetime={{ .Values.certificates.lifetime }}
{{- else }}
- --tls-cert=/tls/tls.crt
- --tls-key=/tls/tls.key
{{- end }}
- --webhook-timeout-seconds={{ .Values.webhook.timeoutSeconds }}
- --webhook-owner={{ $fullname }}
{{- if include "freshgate.isManaged" . }}
- --webhook-configuration={{ .Values.webhook.name }}
{{- if .Values.webhook.url }}
- {{ printf "--webhook-url=%s" .Values.webhook.url | toJson }}
{{- else }}
- --webhook-service={{ $fullname }}
- --webhook-port={{ .Values.service.port }}
{{- end }}
- --webhook-failure-policy={{ .Values.webhook.failurePolicy | lower }}
- --webhook-exclude-namespace={{ include "freshgate.excludedNamespaces" . | fromJsonArray | join "," }}
- --webhook-drift={{ ternary "enforce" "report" (eq (toString .Values.webhook.manage) "Enforce") }}
{{- if ne .Values.certificates.mode "inProcess" }}
- --webhook-ca=/tls/ca.crt
{{- end }}
{{- end }}
{{- with .Values.webhook.clientCertificate }}
{{- if .caSecret }}
- --client-ca=/client-ca/ca.crt
{{- range .names }}
- {{ printf "--client-name=%s" . | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.registries }}
{{- range .allow }}
- {{ printf "--allow-registry=%s" . | toJson }}
{{- end }}
{{- range .private }}
- {{ printf "--private-registry=%s" . | toJson }}
{{- end }}
{{- range .insecure }}
- {{ printf "--insecure-registry=%s" . | toJson }}
{{- end }}
{{- range .tokenHosts }}
- {{ printf "--token-host=%s" . | toJson }}
{{- end }}
{{- range .mirrors }}
- {{ printf "--mirror=%s" . | toJson }}
{{- end }}
{{- if .authSecret }}
- --registry-auth=/registry-auth/config.json
{{- end }}
{{- if .caConfigMap }}
- --registry-ca=/registry-ca/ca.crt
{{- end }}
{{- if .pullSecrets.namespaces }}
- --read-pull-secrets
{{- end }}
{{- end }}
{{- range .Values.workloadKinds }}
- --workload-kind={{ .group }}/{{ .kind }}={{ .path }}
{{- end }}
- --scan-interval={{ .Values.scan.interval }}
{{- if .Values.scan.indexes.settings }}
- --indexes=/indexes/indexes.yaml
{{- end }}
{{- with .Values.contact }}
- {{ printf "--contact=%s" . | toJson }}
{{- end }}
{{- with .Values.publicUrl }}
- {{ printf "--public-url=%s" . | toJson }}
{{- end }}
{{- with .Values.clusterName }}
- {{ printf "--cluster=%s" . | toJson }}
{{- end }}
{{- if .Values.log.json }}
- --log-json
{{- end }}
{{- with .Values.otlp.endpoint }}
- {{ printf "--otlp-endpoint=%s" . | toJson }}
{{- end }}
{{- if .Values.otlp.caConfigMap }}
- --otlp-ca=/otlp-ca/ca.crt
{{- end }}
{{- range .Values.extraArguments }}
- {{ toJson . }}
{{- end }}
{{- end -}}
