{{- define "freshgate.examplePolicyNames" -}}
{{- $names := list -}}
{{- range $path, $_ := .Files.Glob "files/policies/*.yaml" -}}
{{- $names = append $names (base $path | trimSuffix ".yaml") -}}
{{- end -}}
{{- join ", " $names -}}
{{- end -}}

{{/* All policies of this release, by name, in YAML. */}}
{{- define "freshgate.policies" -}}
{{- $policies := dict -}}
{{- range $name := .Values.examplePolicies -}}
{{- $_ := set $policies $name (get ($.Files.Get (printf "files/policies/%s.yaml" $name) | fromYaml) "spec") -}}
{{- end -}}
{{- range $name, $spec := .Values.policies -}}
{{- $_ := set $policies $name $spec -}}
{{- end -}}
{{- toYaml $policies -}}
{{- end -}}
