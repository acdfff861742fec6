{{- define "hpc-exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hpc-exporter.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hpc-exporter.labels" -}}
{{ include "hpc-exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Pods of one name each, with a volume or a share of their own. */}}
{{- define "hpc-exporter.stateful" -}}
{{- if or .Values.persistence.enabled (gt (int .Values.shards) 1) }}yes{{ end -}}
{{- end -}}

{{- define "hpc-exporter.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "hpc-exporter.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "hpc-exporter.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The configuration as text. Rejects secrets: this is kept and shown in plain sight. */}}
{{- define "hpc-exporter.config" -}}
{{- if not .Values.config -}}
{{- fail "config is empty: give the exporter's configuration, such as --set-file config=exporter.yml" -}}
{{- end -}}
{{- $text := .Values.config -}}
{{- if not (kindIs "string" $text) -}}
{{- $text = toYaml $text -}}
{{- end -}}
{{- $bare := regexReplaceAll "(?m)(^|\\s)#.*$" $text "" -}}
{{- with regexFind "(^|[\\s{,])[\"']?(token|access_key|secret_key|password)[\"']?[ \\t]*:" $bare -}}
{{- $key := regexFind "[a-z_]+" . -}}
{{- fail (printf "config holds a secret (%s): put it into a Secret, name that as secrets.existingSecret, and write %s_file: KEY_OF_THE_SECRET instead" $key $key) -}}
{{- end -}}
{{- with (fromYaml $text).Error -}}
{{- fail (printf "config is not YAML with sections such as clusters: %s; hpc-exporter check names every mistake in it" .) -}}
{{- end -}}
{{- $text | trim -}}
{{- end -}}

{{- define "hpc-exporter.secret" -}}
{{- if and .Values.secrets.existingSecret .Values.secrets.data -}}
{{- fail "secrets.existingSecret and secrets.data exclude each other" -}}
{{- end -}}
{{- if .Values.secrets.data }}{{ include "hpc-exporter.fullname" . }}{{ else }}{{ .Values.secrets.existingSecret }}{{ end -}}
{{- end -}}
