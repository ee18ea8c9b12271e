{{/* Names and labels. */}}
{{- define "freshgate.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave room for the longest suffix. */}}
{{- define "freshgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "freshgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "freshgate.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "freshgate.selector" -}}
app.kubernetes.io/name: {{ include "freshgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "freshgate.labels" -}}
{{ include "freshgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: freshgate
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "freshgate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "freshgate.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "freshgate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What an uninstall leaves, unless it is told to purge. */}}
{{- define "freshgate.keep" -}}
{{- if not .Values.purge -}}
helm.sh/resource-policy: keep
{{- end }}
{{- end -}}

{{- define "freshgate.claimName" -}}
{{- .Values.store.sqlite.existingClaim | default (include "freshgate.fullname" .) -}}
{{- end -}}

{{/* Secret of the serving certificate. */}}
{{- define "freshgate.tlsSecretName" -}}
{{- if eq .Values.certificates.mode "existingSecret" -}}
{{- .Values.certificates.existingSecret -}}
{{- else -}}
{{- include "freshgate.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* Names that the API server may call the gate by; a comma between them. */}}
{{- define "freshgate.dnsNames" -}}
{{- $service := include "freshgate.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $names := list (printf "%s.%s.svc" $service $namespace) (printf "%s.%s.svc.%s" $service $namespace .Values.clusterDomain) (printf "%s.%s" $service $namespace) $service "localhost" "127.0.0.1" -}}
{{- with .Values.webhook.url -}}
{{- $names = append $names (urlParse . | dig "hostname" "") -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{/* Namespaces that the webhook leaves out, as a list in JSON: kube-system and one's own always. */}}
{{- define "freshgate.excludedNamespaces" -}}
{{- concat (list "kube-system" .Release.Namespace) .Values.webhook.excludeNamespaces .Values.webhook.excludeMoreNamespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* When an answer may leave. */}}
{{- define "freshgate.durability" -}}
{{- .Values.audit.durability | default (ternary "Store" "Journal" (eq .Values.store.type "postgresql")) -}}
{{- end -}}

{{- define "freshgate.isManaged" -}}
{{- if ne (toString .Values.webhook.manage) "false" }}true{{ end -}}
{{- end -}}
