{{/*
Make the values ready, once for all templates. `helm upgrade --reuse-values` brings the values of an older chart, which
lack what is new since, and a key that is set to null is gone: both get the default. A setting that there is no more is
dropped. Then every text is rendered as a
template, so that a chart around this one can hand names down. Not rendered: what other charts share in `global`, and
`extraObjects`, whose templates may be more than texts.
*/}}
{{- define "oo.values" -}}
{{- if not .Values.prepared }}
{{- $defaults := .Files.Get "files/defaults.json" | fromJson }}
{{- range $path, $default := $defaults }}
{{- $place := $.Values }}
{{- $names := splitList "." $path }}
{{- range initial $names }}
{{- if not (kindIs "map" (get $place .)) }}
{{- $_ := set $place . dict }}
{{- end }}
{{- $place = get $place . }}
{{- end }}
{{- if or (not (hasKey $place (last $names))) (kindIs "invalid" (get $place (last $names))) }}
{{- $_ := set $place (last $names) $default }}
{{- end }}
{{- end }}
{{- range $name := keys .Values.config }}
{{- if not (hasKey $defaults (printf "config.%s" $name)) }}
{{- $_ := unset $.Values.config $name }}
{{- end }}
{{- end }}
{{- $_ := set .Values "prepared" true }}
{{- include "oo.rendered" (list . (omit .Values "global" "extraObjects") .Values) }}
{{- end }}
{{- end }}

{{/* Put the rendered texts of `from` into `to`, which may be the same. Takes (list root from to). */}}
{{- define "oo.rendered" -}}
{{- $root := index . 0 }}
{{- $to := index . 2 }}
{{- range $key, $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- include "oo.rendered" (list $root $value $value) }}
{{- else if kindIs "slice" $value }}
{{- $items := list }}
{{- range $value }}
{{- $box := dict "item" . }}
{{- include "oo.rendered" (list $root $box $box) }}
{{- $items = append $items $box.item }}
{{- end }}
{{- $_ := set $to $key $items }}
{{- else if kindIs "string" $value }}
{{- if contains "{{" $value }}
{{- $_ := set $to $key (tpl $value $root) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
