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
app.kubernetes.io/name: {{ include "oo.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
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

{{/* The annotations of an object, if there are any. Takes (list root own). */}}
{{- define "oo.annotations" -}}
{{- with merge (deepCopy (index . 1)) (index . 0).Values.commonAnnotations -}}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
repository:tag, or repository@digest. A registry takes the place of the one in the repository, as the first part of it
is if it has a dot or a port. Takes (list image tag).
*/}}
{{- define "oo.image" -}}
{{- $image := index . 0 }}
{{- $repository := $image.repository }}
{{- with $image.registry }}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") }}
{{- end }}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ default (index . 1) $image.tag }}
{{- end }}
{{- end }}

{{/* The image's target `tools`, which has what the log's tables need. Takes the root. */}}
{{- define "oo.image.tools" -}}
{{- $image := .Values.image }}
{{- $tag := default (printf "%s-tools" (default .Chart.AppVersion $image.tag)) $image.toolsTag }}
{{- include "oo.image" (list (dict "registry" $image.registry "repository" $image.repository "tag" $tag "digest" $image.toolsDigest) "") }}
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

{{/* The name of a CronJob has 52 characters at most. Takes (list root job). */}}
{{- define "oo.job.name" -}}{{ include "oo.fullname" (index . 0) | trunc (min 45 (sub 51 (len (index . 1))) | int) | trimSuffix "-" }}-{{ index . 1 }}{{- end }}

{{/* The jobs that run, as a JSON list. State in memory is out of their reach; the log must be where they reach it. */}}
{{- define "oo.jobs" -}}
{{- $jobs := list }}
{{- range list "prior" "settle" "judge" "compact" }}
{{- if and (index $.Values .).enabled (not (include "oo.memory" $)) (or (not (has . (list "judge" "compact"))) (include "oo.logShared" $)) }}
{{- $jobs = append $jobs . }}
{{- end }}
{{- end }}
{{- toJson $jobs }}
{{- end }}

{{/* Bytes of a quantity such as 1.5Gi or 512mb; empty if it is none of these. */}}
{{- define "oo.bytes" -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "kb" 0x1p10 "mb" 0x1p20 "gb" 0x1p30 "Ki" 0x1p10 "Mi" 0x1p20 "Gi" 0x1p30 "Ti" 0x1p40 }}
{{- if regexMatch "^[0-9]+([.][0-9]+)?([KMGT]i|[kMGT]|[kmg]b)?$" . }}
{{- mulf (regexFind "^[0-9.]+" . | float64) (index $units (regexFind "[A-Za-z]*$" .)) }}
{{- end }}
{{- end }}

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

{{/* Name and key of the Secret that holds the password of the Redis in this release. */}}
{{- define "oo.redis.secretKey" -}}
{{- with .Values.redis.auth -}}
name: {{ default (include "oo.redis.name" $) .existingSecret | quote }}
key: {{ ternary .key "password" (ne .existingSecret "") | quote }}
{{- end }}
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

{{/* "true" if a secret setting is among secrets. Takes (list root name). */}}
{{- define "oo.inSecrets" -}}
{{- $secret := index (index . 0).Values.secrets (index . 1) }}
{{- if or $secret.value $secret.existingSecret }}true{{ end }}
{{- end }}

{{/* The names that extraEnv sets, as a JSON list. */}}
{{- define "oo.own" -}}
{{- $own := list }}
{{- range .Values.extraEnv }}
{{- $own = append $own .name }}
{{- end }}
{{- toJson $own }}
{{- end }}

{{/* "true" if a secret setting is given, among secrets or in extraEnv. Takes (list root name). */}}
{{- define "oo.given" -}}
{{- if has (index . 1) (include "oo.own" (index . 0) | fromJsonArray) }}true{{ else }}{{ include "oo.inSecrets" . }}{{ end }}
{{- end }}

{{/*
"true" if a secret setting may be given: extraEnvFrom may hold it, which only the cluster knows. Takes (list root name).
*/}}
{{- define "oo.maybeGiven" -}}
{{- if (index . 0).Values.extraEnvFrom }}true{{ else }}{{ include "oo.given" . }}{{ end }}
{{- end }}

{{/* Name and key of the Secret that holds a secret setting. Takes (list root name). */}}
{{- define "oo.secretKey" -}}
{{- $secret := index (index . 0).Values.secrets (index . 1) }}
{{- if $secret.existingSecret -}}
name: {{ $secret.existingSecret | quote }}
key: {{ $secret.key | quote }}
{{- else -}}
name: {{ include "oo.fullname" (index . 0) | quote }}
key: {{ index . 1 | quote }}
{{- end }}
{{- end }}

{{/*
The environment that is not in the ConfigMap. What extraEnv names is left to it: of a name given twice, the upgrade that
takes one away would take both, for Kubernetes merges this list by name.
*/}}
{{- define "oo.env" -}}
{{- $root := . }}
{{- $own := include "oo.own" . | fromJsonArray }}
{{- if .Values.redis.enabled }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef: {{- include "oo.redis.secretKey" . | nindent 6 }}
{{- if not (has "REDIS_URL" $own) }}
- name: REDIS_URL
  value: {{ printf "redis://:$(REDIS_PASSWORD)@%s:6379/0" (include "oo.redis.name" .) | quote }}
{{- end }}
{{- end }}
{{- range $name, $secret := .Values.secrets }}
{{- if and (include "oo.inSecrets" (list $root $name)) (not (has $name $own)) }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {{- include "oo.secretKey" (list $root $name) | nindent 6 }}
{{- end }}
{{- end }}
{{- if and .Values.natsCredentials.existingSecret (not (has "NATS_CREDS" $own)) }}
- name: NATS_CREDS
  value: {{ printf "/etc/oo-serving/nats/%s" .Values.natsCredentials.key | quote }}
{{- end }}
{{- if and .Values.policies (not (has "POLICIES" $own)) }}
- name: POLICIES
  value: /etc/oo-serving/policies/policies.toml
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The whole environment of a container with the service's image. */}}
{{- define "oo.environment" -}}
envFrom:
  - configMapRef: {name: {{ include "oo.fullname" . | quote }}}
  {{- with .Values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "oo.env" . | trim }}
env: {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every pod of the service and of its jobs has, beside its containers and volumes. */}}
{{- define "oo.pod" -}}
serviceAccountName: {{ include "oo.serviceAccount" . | quote }}
automountServiceAccountToken: false
# Otherwise a Service called "redis" or "workers" in the namespace would put variables into our environment.
enableServiceLinks: false
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . | quote }}
{{- end }}
{{- range $name := list "imagePullSecrets" "nodeSelector" "tolerations" "hostAliases" "dnsConfig" }}
{{- with get $.Values $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
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

{{/* Of the values (0) and the size of /tmp (1). */}}
{{- define "oo.volumes" -}}
{{- $size := index . 1 }}
{{- with index . 0 }}
- name: tmp
  emptyDir: {sizeLimit: {{ $size }}}
{{- if .Values.ca.existingSecret }}
- name: ca
  secret: {secretName: {{ .Values.ca.existingSecret | quote }}, items: [{key: {{ .Values.ca.key | quote }}, path: {{ .Values.ca.key | quote }}}]}
{{- else if .Values.ca.existingConfigMap }}
- name: ca
  configMap: {name: {{ .Values.ca.existingConfigMap | quote }}, items: [{key: {{ .Values.ca.key | quote }}, path: {{ .Values.ca.key | quote }}}]}
{{- end }}
{{- with .Values.natsCredentials }}
{{- if .existingSecret }}
- name: nats
  secret: {secretName: {{ .existingSecret | quote }}, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]}
{{- end }}
{{- end }}
{{- if .Values.policies }}
- name: policies
  configMap: {name: {{ include "oo.fullname" . | printf "%s-policies" | quote }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The volume of the log of decisions, as a list of one; nothing if there is none. */}}
{{- define "oo.logVolume" -}}
{{- with .Values.decisionLog }}
{{- if .existingClaim -}}
- name: decision-log
  persistentVolumeClaim: {claimName: {{ .existingClaim | quote }}}
{{- else if .volume -}}
- name: decision-log
{{ toYaml .volume | indent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" if the log of decisions is in a directory that other pods may read. */}}
{{- define "oo.logShared" -}}
{{- if and (hasPrefix "file://" .Values.config.DECISION_LOG) (not .Values.decisionLog.volume.ephemeral) }}true{{ end }}
{{- end }}

{{/* "true" if the state is in the memory of one pod. */}}
{{- define "oo.memory" -}}
{{- $url := (index .Values.secrets "REDIS_URL").value }}
{{- $known := include "oo.maybeGiven" (list . "REDIS_URL") }}
{{- range .Values.extraEnv }}
{{- if eq .name "REDIS_URL" }}
{{- $url = default "" .value }}
{{- end }}
{{- end }}
{{- if and (not .Values.redis.enabled) (or (not $known) (hasPrefix "memory://" $url)) }}true{{ end }}
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
{{- else if not (include "oo.memory" .) }}
# Redis
{{ include "oo.egress" .Values.networkPolicy.redis }}
{{- end }}
{{- end }}
