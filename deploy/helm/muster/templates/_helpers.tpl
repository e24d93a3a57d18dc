{{/* Names of 63 characters at most, without a dash at the end. */}}
{{- define "muster.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "muster.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "muster.labels" -}}
{{ include "muster.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: scheduler
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "muster.serviceAccount" -}}
{{- default (include "muster.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "muster.probe.name" -}}
{{- printf "%s-probe" (include "muster.name" .) -}}
{{- end -}}

{{/* Probes are no part of what Service, PodDisruptionBudget and Deployment select. */}}
{{- define "muster.probe.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-probe
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "muster.probe.labels" -}}
{{ include "muster.probe.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: probe
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "muster.probe.account" -}}
{{- default (include "muster.probe.name" .) .Values.probe.serviceAccount.name -}}
{{- end -}}

{{- define "muster.queues.name" -}}
{{- default (printf "%s-queues" (include "muster.name" .)) .Values.queues.configMap.name -}}
{{- end -}}

{{- define "muster.queues.namespace" -}}
{{- default .Release.Namespace .Values.queues.configMap.namespace -}}
{{- end -}}
