{{/*
The entries of the static webhook configuration, in YAML; the gate makes the same by itself (webhook.manage). Two for what is
made and changed, told apart by whether the object has a controller: what a controller makes is never held up by a gate that
is away. An update that leaves template and labels as they are never reaches the gate. An expression may not fail: under Fail
that would be a refusal, so paths are optional.
*/}}
{{- define "freshgate.webhooks" -}}
{{- $owners := "(request.operation == \"DELETE\" ? oldObject : object).metadata.?ownerReferences.orValue([])" -}}
{{- $template := "object.?spec.?template != oldObject.?spec.?template" -}}
{{- $kinds := .Values.workloadKinds -}}
{{- range concat $kinds (list (dict "group" "batch" "kind" "CronJob" "path" "spec.jobTemplate.spec.template") (dict "group" "" "kind" "Pod" "path" "spec")) -}}
{{- $path := .path | replace "." ".?" -}}
{{- if ne .path "spec.template" -}}
{{- $template = printf "(request.kind.group == %q && request.kind.kind == %q ? object.?%s != oldObject.?%s : %s)" .group .kind $path $path $template -}}
{{- end -}}
{{- end -}}
{{- $changed := printf "request.operation != \"UPDATE\" || object.metadata.?labels != oldObject.metadata.?labels || %s" $template -}}
{{- $workloads := list
  (dict "apiGroups" (list "apps") "apiVersions" (list "*") "resources" (list "deployments" "statefulsets" "daemonsets" "replicasets"))
  (dict "apiGroups" (list "batch") "apiVersions" (list "*") "resources" (list "jobs" "cronjobs"))
  (dict "apiGroups" (list "") "apiVersions" (list "v1") "resources" (list "pods" "pods/ephemeralcontainers" "replicationcontrollers"))
  (dict "apiGroups" (list "argoproj.io") "apiVersions" (list "*") "resources" (list "rollouts"))
  (dict "apiGroups" (list "serving.knative.dev") "apiVersions" (list "*") "resources" (list "services")) -}}
{{- $more := list -}}
{{- range .Values.workloadKinds -}}
{{- $more = append $more (dict "apiGroups" (list .group) "apiVersions" (list "*") "resources" (list .resource)) -}}
{{- end -}}
{{- $rules := list -}}
{{- range concat $workloads $more -}}
{{- $rules = append $rules (merge (dict "operations" (list "CREATE" "UPDATE") "scope" "Namespaced") .) -}}
{{- end -}}
{{- $deletable := concat (list
  (dict "apiGroups" (list "apps") "apiVersions" (list "*") "resources" (list "deployments" "statefulsets" "daemonsets"))
  (dict "apiGroups" (list "batch") "apiVersions" (list "*") "resources" (list "cronjobs"))
  (dict "apiGroups" (list "argoproj.io") "apiVersions" (list "*") "resources" (list "rollouts"))
  (dict "apiGroups" (list "serving.knative.dev") "apiVersions" (list "*") "resources" (list "services"))) $more -}}
{{- $deleted := list -}}
{{- range $deletable -}}
{{- $deleted = append $deleted (merge (dict "operations" (list "DELETE") "scope" "Namespaced") .) -}}
{{- end -}}
{{- $exceptions := list
  (dict "apiGroups" (list "freshgate.dev") "apiVersions" (list "*") "operations" (list "CREATE" "UPDATE") "resources" (list "gateexceptions") "scope" "Cluster") -}}
{{- $noController := dict "name" "no-controller" "expression" (printf "%s.all(o, !o.?controller.orValue(false))" $owners) -}}
{{- $controller := dict "name" "controller" "expression" (printf "%s.exists(o, o.?controller.orValue(false))" $owners) -}}
{{- $change := dict "name" "changed" "expression" $changed -}}
{{- $client := dict -}}
{{- if .Values.webhook.url -}}
{{- $_ := set $client "url" .Values.webhook.url -}}
{{- else -}}
{{- $_ := set $client "service" (dict "name" (include "freshgate.fullname" .) "namespace" .Release.Namespace "port" (int .Values.service.port) "path" "/validate") -}}
{{- end -}}
{{- with .Values.webhook.caBundle -}}
{{- $_ := set $client "caBundle" (b64enc .) -}}
{{- end -}}
{{- $selector := dict "matchExpressions" (list (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (include "freshgate.excludedNamespaces" . | fromJsonArray))) -}}
{{- $entries := list
  (dict "name" "workloads.freshgate.dev" "failurePolicy" .Values.webhook.failurePolicy "rules" $rules "matchConditions" (list $noController $change) "namespaceSelector" $selector)
  (dict "name" "owned.freshgate.dev" "failurePolicy" "Ignore" "rules" $rules "matchConditions" (list $controller $change) "namespaceSelector" $selector)
  (dict "name" "deleted.freshgate.dev" "failurePolicy" "Ignore" "rules" $deleted "matchConditions" (list $noController) "namespaceSelector" $selector)
  (dict "name" "exceptions.freshgate.dev" "failurePolicy" "Fail" "rules" $exceptions "matchConditions" (list) "namespaceSelector" (dict)) -}}
{{- $all := list -}}
{{- range $entries -}}
{{- $all = append $all (merge . (dict "admissionReviewVersions" (list "v1") "sideEffects" "NoneOnDryRun" "matchPolicy" "Equivalent" "objectSelector" (dict) "timeoutSeconds" (int $.Values.webhook.timeoutSeconds) "clientConfig" $client)) -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}
