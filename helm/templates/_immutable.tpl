{{/*
What this upgrade would change and Kubernetes does not let change, as a JSON list of sentences. Found only by asking, or
Helm would have changed half of the objects when the API server refuses the other half. Without a cluster it is empty.
*/}}
{{- define "oo.immutable" -}}
{{- $problems := list }}
{{- if .Release.IsUpgrade }}
{{- $name := include "oo.fullname" . }}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace $name | default dict }}
{{- $problems = include "oo.otherSelector" (list . "serving" $live) | fromJsonArray | concat $problems }}
{{- $service := lookup "v1" "Service" .Release.Namespace $name | default dict }}
{{- $families := dig "spec" "ipFamilies" list $service }}
{{- with .Values.service.ipFamilies }}
{{- if and $families (ne (first .) (first $families)) }}
{{- $problems = append $problems (printf "service.ipFamilies begins with %s and Service %s with %s, which cannot be changed: keep %s first, or delete the Service before the upgrade." (first .) $name (first $families) (first $families)) }}
{{- end }}
{{- end }}
{{- if .Values.redis.enabled }}
{{- $sets := lookup "apps/v1" "StatefulSet" .Release.Namespace "" | default dict }}
{{- range dig "items" list $sets }}
{{- $labels := dig "metadata" "labels" dict . }}
{{- $own := include "oo.selector" (list $ "redis") | fromYaml }}
{{- if and (eq (dig "app.kubernetes.io/instance" "" $labels) $.Release.Name) (eq (dig "app.kubernetes.io/component" "" $labels) "redis") (eq (dig "app.kubernetes.io/part-of" "" $labels) $.Chart.Name) }}
{{- if ne .metadata.name (include "oo.redis.name" $) }}
{{- $problems = append $problems (printf "The Redis of this release is StatefulSet %s; nameOverride and fullnameOverride would make another one, %s, without its data: keep the names of the install." .metadata.name (include "oo.redis.name" $)) }}
{{- else }}
{{- $problems = include "oo.otherSelector" (list $ "redis" .) | fromJsonArray | concat $problems }}
{{- $problems = include "oo.otherClaim" (list $ .) | fromJsonArray | concat $problems }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{/* Takes (list root component live). */}}
{{- define "oo.otherSelector" -}}
{{- $root := index . 0 }}
{{- $live := index . 2 }}
{{- $selected := dig "spec" "selector" "matchLabels" dict $live }}
{{- $problems := list }}
{{- if and $selected (ne (toJson $selected) (include "oo.selector" . | fromYaml | toJson)) }}
{{- $was := dig "app.kubernetes.io/name" "" $selected }}
{{- $problems = append $problems (printf "%s %s selects pods called %s, and would select those called %s, which cannot be changed: set nameOverride=%s." $live.kind $live.metadata.name $was (include "oo.name" $root) $was) }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{/* Takes (list root StatefulSet). */}}
{{- define "oo.otherClaim" -}}
{{- $wanted := (index . 0).Values.redis.persistence }}
{{- $claims := dig "spec" "volumeClaimTemplates" list (index . 1) }}
{{- $where := printf "which StatefulSet %s cannot change: see \"What an upgrade cannot change\" in docs/run/kubernetes.md." (index . 1).metadata.name }}
{{- $problems := list }}
{{- if ne (and $wanted.enabled (not $wanted.existingClaim)) (not (empty $claims)) }}
{{- $problems = append $problems (printf "redis.persistence.enabled=%t and redis.persistence.existingClaim=%q would change whether Redis has a claim of its own, %s" $wanted.enabled $wanted.existingClaim $where) }}
{{- else if $claims }}
{{- $spec := dig "spec" dict (first $claims) }}
{{- $size := dig "resources" "requests" "storage" "" $spec }}
{{- if and (ne $size $wanted.size) (or (not (include "oo.bytes" $size)) (ne (include "oo.bytes" $size) (include "oo.bytes" $wanted.size))) }}
{{- $problems = append $problems (printf "redis.persistence.size=%s is %s in the cluster, %s" $wanted.size $size $where) }}
{{- end }}
{{- if ne (dig "storageClassName" "" $spec) $wanted.storageClass }}
{{- $problems = append $problems (printf "redis.persistence.storageClass=%q is %q in the cluster, %s" $wanted.storageClass (dig "storageClassName" "" $spec) $where) }}
{{- end }}
{{- if ne (dig "accessModes" list $spec | toJson) (toJson $wanted.accessModes) }}
{{- $problems = append $problems (printf "redis.persistence.accessModes=%s is %s in the cluster, %s" (toJson $wanted.accessModes) (dig "accessModes" list $spec | toJson) $where) }}
{{- end }}
{{- end }}
{{- toJson $problems }}
{{- end }}
