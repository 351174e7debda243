{{/* The name of the chart, shortened to what Kubernetes takes. */}}
{{- define "oo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{/* What every object's name starts with. A release called "oo" gives "oo-serving", not "oo-oo-serving". */}}
{{- define "oo.fullname" -}}
{{- $name := include "oo.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else if hasPrefix (printf "%s-" .Release.Name) $name }}
{{- $name }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the pods of one component, for ever: selectors cannot be changed. Takes (list root component). */}}
{{- define "oo.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "oo.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The labels of one component's objects. Takes (list root component). */}}
{{- define "oo.labels" -}}
{{- $root := index . 0 }}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
  "app.kubernetes.io/managed-by" $root.Release.Service
  "app.kubernetes.io/part-of" $root.Chart.Name
  "app.kubernetes.io/version" $root.Chart.AppVersion }}
{{- toYaml (merge $own (include "oo.selector" . | fromYaml) $root.Values.commonLabels) }}
{{- end }}

{{/*
The labels of one component's pods. No version among them: it would restart Redis whenever the chart's changes.
Takes (list root component own).
*/}}
{{- define "oo.podLabels" -}}
{{- $root := index . 0 -}}
{{- toYaml (merge (include "oo.selector" . | fromYaml) (deepCopy (index . 2)) $root.Values.commonLabels) }}
{{- end }}

{{- define "oo.serviceAccount" -}}
{{- default (ternary (include "oo.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* repository:tag, or repository@digest. Takes (list image tag). */}}
{{- define "oo.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end }}
{{- end }}

{{/* A value as the text of an environment variable: toJson, since toString makes 2097152 "2.097152e+06". */}}
{{- define "oo.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{/*
The start of the durables' names. Two releases with one name would each get a part of the events. "_" stands in neither
namespace nor release, so no two pairs give one name; what is cut ends with a hash of the whole.
*/}}
{{- define "oo.durable" -}}
{{- $own := printf "%s_%s" .Release.Namespace (replace "." "_" .Release.Name) }}
{{- if .Values.config.NATS_DURABLE_PREFIX }}
{{- .Values.config.NATS_DURABLE_PREFIX }}
{{- else if gt (len $own) 64 }}
{{- printf "%s_%s" (trunc 51 $own) (sha256sum $own | trunc 12) }}
{{- else }}
{{- $own }}
{{- end }}
{{- end }}

{{/* Shorter than the others: a label of the pod is this name and the 11 characters of a revision, 63 at most. */}}
{{- define "oo.redis.name" -}}{{ include "oo.fullname" . | trunc 46 | trimSuffix "-" }}-redis{{- end }}

{{/* The name of a CronJob has 52 characters at most. */}}
{{- define "oo.prior.name" -}}{{ include "oo.fullname" . | trunc 46 | trimSuffix "-" }}-prior{{- end }}

{{- define "oo.redis.conf" -}}
dir /data
port 6379
protected-mode no
# Every write goes to the append-only file; there are no snapshots besides.
appendonly yes
appendfsync {{ .Values.redis.appendfsync }}
save ""
maxmemory {{ .Values.redis.maxmemory }}
# State must never be evicted: without room a write is refused.
maxmemory-policy noeviction
# A and b of a user fit a listpack then, which takes less memory than a hash table.
hash-max-listpack-value 2048
{{- with .Values.redis.extraConfig }}
{{ . | trim }}
{{- end }}
{{- end }}

{{/* The Secret that holds the password of the Redis in this release. */}}
{{- define "oo.redis.secret" -}}
{{- default (include "oo.redis.name" .) .Values.redis.auth.existingSecret }}
{{- end }}

{{/*
The password of the Redis in this release: the one given, else the one the cluster has, else a new one. It is put back
into the values, so that every template of one rendering sees the same.
*/}}
{{- define "oo.redis.password" -}}
{{- if not .Values.redis.auth.password }}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "oo.redis.name" .) | default dict }}
{{- $kept := dig "data" "password" "" $secret | b64dec }}
{{- $_ := set .Values.redis.auth "password" (default (randAlphaNum 32) $kept) }}
{{- end }}
{{- .Values.redis.auth.password }}
{{- end }}

{{/* "true" if a secret setting is given in either way. Takes (list root name). */}}
{{- define "oo.given" -}}
{{- $secret := index (index . 0).Values.secrets (index . 1) }}
{{- if or $secret.value $secret.existingSecret }}true{{ end }}
{{- end }}

{{/* Name and key of the Secret that holds a secret setting. Takes (list root name). */}}
{{- define "oo.secretKey" -}}
{{- $secret := index (index . 0).Values.secrets (index . 1) }}
{{- if $secret.existingSecret -}}
name: {{ $secret.existingSecret }}
key: {{ $secret.key }}
{{- else -}}
name: {{ include "oo.fullname" (index . 0) }}
key: {{ index . 1 }}
{{- end }}
{{- end }}

{{/*
The environment that is not in the ConfigMap. What extraEnv names is left to it: of a name given twice, the upgrade that
takes one away would take both, for Kubernetes merges this list by name.
*/}}
{{- define "oo.env" -}}
{{- $root := . }}
{{- $own := list }}
{{- range .Values.extraEnv }}
{{- $own = append $own .name }}
{{- end }}
{{- if .Values.redis.enabled }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "oo.redis.secret" . }}, key: {{ ternary .Values.redis.auth.key "password" (ne .Values.redis.auth.existingSecret "") }}}}
{{- if not (has "REDIS_URL" $own) }}
- name: REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "oo.redis.name" . }}:6379/0
{{- end }}
{{- end }}
{{- range $name, $secret := .Values.secrets }}
{{- if and (include "oo.given" (list $root $name)) (not (has $name $own)) }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {{- include "oo.secretKey" (list $root $name) | nindent 6 }}
{{- end }}
{{- end }}
{{- if and .Values.natsCredentials.existingSecret (not (has "NATS_CREDS" $own)) }}
- name: NATS_CREDS
  value: /etc/oo-serving/nats/{{ .Values.natsCredentials.key }}
{{- end }}
{{- if and .Values.policies (not (has "POLICIES" $own)) }}
- name: POLICIES
  value: /etc/oo-serving/policies/policies.toml
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Fewest pods there will be, whoever decides it. */}}
{{- define "oo.fewest" -}}
{{- if .Values.keda.enabled }}{{ int .Values.keda.minReplicas }}
{{- else if .Values.autoscaling.enabled }}{{ int .Values.autoscaling.minReplicas }}
{{- else }}{{ int .Values.replicaCount }}{{ end }}
{{- end }}

{{/* Most pods there will be. */}}
{{- define "oo.most" -}}
{{- if .Values.keda.enabled }}{{ int .Values.keda.maxReplicas }}
{{- else if .Values.autoscaling.enabled }}{{ int .Values.autoscaling.maxReplicas }}
{{- else }}{{ int .Values.replicaCount }}{{ end }}
{{- end }}

{{/* What a stop needs at least: the sleep, then what the service itself takes. */}}
{{- define "oo.stopSeconds" -}}
{{- add (int .Values.preStopSleepSeconds) (ceil .Values.config.DRAIN_SECONDS | int) (int .Values.config.SHUTDOWN_SECONDS) }}
{{- end }}

{{- define "oo.graceSeconds" -}}
{{- default (add (include "oo.stopSeconds" . | int) 10) .Values.terminationGracePeriodSeconds | int }}
{{- end }}

{{/*
The replicas of the Deployment while an autoscaler decides them: those there are, or the fewest at the first install.
Kubernetes makes it 1 where an upgrade or a rollback takes the number away, so it is always given. Only where there is
no cluster to ask it is not.
*/}}
{{- define "oo.liveReplicas" -}}
{{- $deployments := lookup "apps/v1" "Deployment" .Release.Namespace "" }}
{{- if $deployments }}
{{- $replicas := 0 }}
{{- range $deployments.items }}
{{- if eq .metadata.name (include "oo.fullname" $) }}
{{- $replicas = dig "spec" "replicas" 0 . | int }}
{{- end }}
{{- end }}
{{- default (include "oo.fewest" .) $replicas }}
{{- end }}
{{- end }}

{{/* The ports in a list of URLs that are not allowed, as JSON. Takes (list urls default allowed). */}}
{{- define "oo.closedPorts" -}}
{{- $allowed := list }}
{{- range index . 2 }}
{{- $allowed = append $allowed (include "oo.text" .) }}
{{- end }}
{{- $closed := list }}
{{- $default := index . 1 }}
{{- range regexReplaceAll "^[^/]*//([^/]*@)?" (regexReplaceAll "[?#].*" (index . 0) "") "" | splitList "," }}
{{- $address := regexReplaceAll "/.*" (regexReplaceAll "^[^/]*//([^/]*@)?" (trim .) "") "" }}
{{- $port := regexFind ":[0-9]+$" $address | trimPrefix ":" | default $default }}
{{- if not (has $port $allowed) }}
{{- $closed = append $closed $port }}
{{- end }}
{{- end }}
{{- $closed | uniq | toJson }}
{{- end }}

{{/* Peers and ports of a NetworkPolicy rule. Takes (dict "to" peers "ports" numbers). */}}
{{- define "oo.egress" -}}
- ports:
  {{- range .ports }}
    - {port: {{ int . }}, protocol: TCP}
  {{- end }}
  {{- with .to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What every container with the service's image has mounted. */}}
{{- define "oo.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if or .Values.ca.existingSecret .Values.ca.existingConfigMap }}
- {name: ca, mountPath: /etc/oo-serving/ca, readOnly: true}
{{- end }}
{{- if .Values.natsCredentials.existingSecret }}
- {name: nats, mountPath: /etc/oo-serving/nats, readOnly: true}
{{- end }}
{{- if .Values.policies }}
- {name: policies, mountPath: /etc/oo-serving/policies, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "oo.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if .Values.ca.existingSecret }}
- name: ca
  secret: {secretName: {{ .Values.ca.existingSecret }}, items: [{key: {{ .Values.ca.key }}, path: {{ .Values.ca.key }}}]}
{{- else if .Values.ca.existingConfigMap }}
- name: ca
  configMap: {name: {{ .Values.ca.existingConfigMap }}, items: [{key: {{ .Values.ca.key }}, path: {{ .Values.ca.key }}}]}
{{- end }}
{{- with .Values.natsCredentials }}
{{- if .existingSecret }}
- name: nats
  secret: {secretName: {{ .existingSecret }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- end }}
{{- end }}
{{- if .Values.policies }}
- name: policies
  configMap: {name: {{ include "oo.fullname" . }}-policies}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* "true" if the state is in the memory of one pod. */}}
{{- define "oo.memory" -}}
{{- $redis := index .Values.secrets "REDIS_URL" }}
{{- $none := or (not (include "oo.given" (list . "REDIS_URL"))) (hasPrefix "memory://" $redis.value) }}
{{- if and (not .Values.redis.enabled) $none (not $redis.existingSecret) }}true{{ end }}
{{- end }}

{{/* The rules of a NetworkPolicy for whoever asks Redis. */}}
{{- define "oo.egress.redis" -}}
# DNS
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
  {{- with .Values.networkPolicy.dns.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if .Values.redis.enabled }}
# Redis
- ports: [{port: 6379, protocol: TCP}]
  to:
    - podSelector: {matchLabels: {{ include "oo.selector" (list . "redis") | fromYaml | toJson }}}
{{- else if include "oo.given" (list . "REDIS_URL") }}
# Redis
{{ include "oo.egress" .Values.networkPolicy.redis }}
{{- end }}
{{- end }}
