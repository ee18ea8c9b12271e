{{/*
The alerts, as a list in YAML. The names of the gate's metrics are its own, so no label of a scrape is needed to find them.
*/}}
{{- define "freshgate.alerts" -}}
{{- $fullname := include "freshgate.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $logs := printf "kubectl --namespace %s logs deployment/%s" $namespace $fullname -}}
{{- with .Values.monitoring.prometheusRule -}}
- alert: FreshgateGone
  expr: absent(freshgate_policies)
  for: 5m
  severity: critical
  summary: No gate is measured
  description: Nothing is judged{{ if eq $.Values.webhook.failurePolicy "Fail" }}, and people cannot deploy{{ end }}. Look at the Pods of deployment/{{ $fullname }} in namespace {{ $namespace }}.
- alert: FreshgateCertificateExpires
  expr: min(freshgate_certificate_not_after_seconds > 0) - time() < {{ mul .certificateDays 86400 }}
  for: 5m
  severity: warning
  summary: The serving certificate ends in less than {{ .certificateDays }} days
  description: {{ printf "It ends in {{ $value | humanizeDuration }}, and then the API server calls the gate no more. It should have been replaced at two thirds of its life. The log says why it was not: %s" $logs | quote }}
- alert: FreshgateCertificateExpiresNow
  expr: min(freshgate_certificate_not_after_seconds > 0) - time() < 86400
  severity: critical
  summary: The serving certificate ends within a day
  description: {{ printf "It ends in {{ $value | humanizeDuration }}, and then the API server calls the gate no more. The log says why it was not replaced: %s" $logs | quote }}
- alert: FreshgateCertificateUnusable
  expr: increase(freshgate_certificate_reload_failures_total[15m]) > 0
  severity: warning
  summary: A new certificate cannot be used
  description: The old one stays as long as it lasts. The log says what is wrong with the new pair of certificate and key ({{ $logs }}).
- alert: FreshgatePoliciesStale
  expr: max(freshgate_policies_staleness_seconds) > {{ .policiesStaleSeconds }}
  for: 2m
  severity: warning
  summary: Policies have not been confirmed for a while
  description: {{ print "A gate has not heard of its policies for {{ $value | humanizeDuration }}. It goes on with the last ones. Look at the API server, and at the gate's rights to watch GatePolicies." | quote }}
- alert: FreshgatePolicyUnusable
  expr: increase(freshgate_policy_failures_total[15m]) > 0
  severity: warning
  summary: A policy cannot be used
  description: The last good one stays in force. `kubectl get gatepolicies` shows which is not accepted, and its condition says why.
- alert: FreshgateBudgetSourceSilent
  expr: max by (source) (freshgate_budget_source_age_seconds) > {{ .sourceSilentSeconds }}
  for: 2m
  severity: warning
  summary: {{ print "Budget source {{ $labels.source }} is silent" | quote }}
  description: {{ print "It last answered {{ $value | humanizeDuration }} ago. Its budgets are Stale; a frozen service stays frozen for the policy's staleHold. `kubectl describe budgetsource {{ $labels.source }}` says what it answers." | quote }}
- alert: FreshgateErrors
  expr: sum(rate(freshgate_answers_total{code=~"5.."}[5m])) / sum(rate(freshgate_answers_total[5m])) > {{ .errorRatio }}
  for: 5m
  severity: critical
  summary: Reviews end in errors
  description: {{ printf "{{ $value | humanizePercentage }} of the reviews end in an error. The log says why (%s); an audit in mode Strict that cannot record answers 503." $logs | quote }}
- alert: FreshgateOverloaded
  expr: sum(increase(freshgate_reviews_shed_total[5m])) > 0
  for: 5m
  severity: warning
  summary: Reviews are turned away
  description: There are more than the gate can answer in time. Give it more CPU, or more replicas.
- alert: FreshgatePanicked
  expr: sum(increase(freshgate_reviews_panicked_total[15m])) > 0
  severity: warning
  summary: A review failed by a panic
  description: Only that one failed. The log has the place ({{ $logs }}); please report it.
- alert: FreshgateSlow
  expr: histogram_quantile(0.99, sum by (le) (rate(freshgate_answer_seconds_bucket[5m]))) > {{ mulf $.Values.webhook.timeoutSeconds 0.5 }}
  for: 10m
  severity: warning
  summary: Answers take more than half of the API server's patience
  description: {{ printf "One in a hundred reviews takes over {{ $value | humanizeDuration }}; the API server waits for %d s. Registries that are slow are the usual reason." (int $.Values.webhook.timeoutSeconds) | quote }}
- alert: FreshgateUnrecorded
  expr: sum(increase(freshgate_audit_unrecorded_total[5m])) > 0
  severity: critical
  summary: Decisions went out that could not be recorded
  description: The audit has a hole. Look at the journal's disk, or at PostgreSQL where answers wait for it.
- alert: FreshgateAuditRefuses
  expr: sum(increase(freshgate_audit_refused_total[5m])) > 0
  severity: critical
  summary: Deploys are refused because they could not be recorded
  description: audit.mode is Strict and the audit takes no record. Look at the journal's disk, or at PostgreSQL where answers wait for it.
- alert: FreshgateStoreFails
  expr: max(freshgate_audit_store_failing) > 0
  for: 10m
  severity: warning
  summary: The store takes no records
  description: The journal keeps them meanwhile and grows. Look at the store, and at the journal's disk.
- alert: FreshgateStoreBehind
  expr: max(freshgate_audit_waiting_age_seconds) > {{ .storeBehindSeconds }}
  for: 5m
  severity: warning
  summary: Records wait long for the store
  description: {{ print "The oldest has waited for {{ $value | humanizeDuration }}. Nothing is lost; questions see the journal's tail only where they can read it." | quote }}
- alert: FreshgateCheckpointsFail
  expr: sum(increase(freshgate_audit_checkpoint_failures_total[1h])) > 2
  severity: warning
  summary: Checkpoints of the audit are not kept
  description: What is cut off from the audit could not be noticed. The log says why ({{ $logs }}).
- alert: FreshgateDenialSpike
  expr: >-
    sum(increase(freshgate_decisions_total{decision="deny",dry_run="false"}[15m])) > {{ .denialSpikeMinimum }}
    and sum(increase(freshgate_decisions_total{decision="deny",dry_run="false"}[15m]))
    > {{ .denialSpikeFactor }} * sum(increase(freshgate_decisions_total{decision="deny",dry_run="false"}[1d])) / 96
  severity: warning
  summary: Many more deploys are refused than usual
  description: {{ print "{{ $value | humanize }} in a quarter of an hour. `freshgate audit query --since 1h --decision deny --count-by policy` shows by what. A new policy can be set to Warn meanwhile." | quote }}
- alert: FreshgateBreakGlass
  expr: >-
    sum(increase(freshgate_exceptions_granted_total{reason="incident"}[10m])) > 0
    or sum(freshgate_exceptions_granted_total{reason="incident"} unless freshgate_exceptions_granted_total{reason="incident"} offset 10m) > 0
  severity: info
  summary: Somebody has broken the glass
  description: An exception with reason incident was granted. `kubectl get gateexceptions` shows for what.
- alert: FreshgateExceptionsInert
  expr: max(freshgate_exceptions_inert) > 0
  for: 10m
  severity: warning
  summary: There are exceptions without effect
  description: Nothing shows that they were granted; they may have been made while the gate was away, or forged. Their condition Active says why (`kubectl get gateexceptions`).
{{- if include "freshgate.isManaged" $ }}
- alert: FreshgateWebhookChanged
  expr: max(freshgate_webhook_drift) > 0
  for: 1m
  severity: critical
  summary: Somebody has changed the webhook configuration
  description: {{ $.Values.webhook.name }} is not as the gate made it, so the gate may not be asked. `kubectl get validatingwebhookconfiguration {{ $.Values.webhook.name }} --output yaml --show-managed-fields` shows by whom; a restart of the gate makes it anew.
- alert: FreshgateWebhookNotRegistered
  expr: max(freshgate_webhook_applied) == 0
  for: 10m
  severity: critical
  summary: The webhook is not registered
  description: The gate is not asked, so nothing is judged. Either its self-check fails or it may not write the configuration; the log says which ({{ $logs }}).
{{- end }}
- alert: FreshgateNoLeader
  expr: sum(freshgate_leader) == 0
  for: 5m
  severity: warning
  summary: No gate leads
  description: Certificates are not rotated, and no records removed, until one does. Look at lease/{{ $fullname }} in namespace {{ $namespace }}.
- alert: FreshgateLeadersTwo
  expr: sum(freshgate_leader) > 1
  for: 2m
  severity: critical
  summary: More than one gate leads
  description: Are there two releases? `kubectl get clusterroles --selector freshgate.dev/gate=true` shows them.
{{- end -}}
{{- end -}}
