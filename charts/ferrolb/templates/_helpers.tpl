{{- define "ferrolb.fullname" -}}
{{- default "ferrolb" .Values.fullnameOverride -}}
{{- end -}}

{{- define "ferrolb.controller" -}}
{{- if .Values.metallbNames }}controller{{ else }}{{ include "ferrolb.fullname" . }}-controller{{ end -}}
{{- end -}}

{{- define "ferrolb.speaker" -}}
{{- if .Values.metallbNames }}speaker{{ else }}{{ include "ferrolb.fullname" . }}-speaker{{ end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "ferrolb.labels" -}}
app.kubernetes.io/name: ferrolb
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What a component's pods are selected by, as in config/default: so that releases can take over its objects, selectors
cannot be changed. Called with (list . "controller"). */}}
{{- define "ferrolb.selector" -}}
{{- $top := index . 0 -}}
{{- if $top.Values.metallbNames -}}
app: metallb
component: {{ index . 1 }}
{{- else -}}
app: ferrolb
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}
{{- end -}}

{{/* By what else a component's pods are found: labels that they have under any names. Called with "controller". */}}
{{- define "ferrolb.pods" -}}
app.kubernetes.io/name: ferrolb
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* The labels that a component's pods always have. */}}
{{- define "ferrolb.podLabels" -}}
{{- $top := index . 0 -}}
{{- if $top.Values.metallbNames -}}
app: metallb
component: {{ index . 1 }}
{{- else -}}
app: ferrolb
{{- end }}
{{ include "ferrolb.pods" (index . 1) }}
{{- end -}}

{{- define "ferrolb.controllerAccount" -}}
{{- default (include "ferrolb.controller" .) .Values.controller.serviceAccount.name -}}
{{- end -}}

{{- define "ferrolb.speakerAccount" -}}
{{- default (include "ferrolb.speaker" .) .Values.speaker.serviceAccount.name -}}
{{- end -}}

{{/* Called with (list . .Values.controller). */}}
{{- define "ferrolb.image" -}}
{{- $all := (index . 0).Values.image -}}
{{- $own := (index . 1).image -}}
{{ default $all.repository $own.repository }}:{{ default $all.tag $own.tag }}
{{- end -}}

{{/* MetalLB's two levels that have other names here. */}}
{{- define "ferrolb.logLevel" -}}
{{- if eq . "all" }}trace{{ else if eq . "none" }}off{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* Metrics by HTTPS: called with (list . NAME), the name of a Secret with a certificate, or none. */}}
{{- define "ferrolb.https" -}}
{{- if (index . 0).Values.prometheus.https.enabled -}}
- name: FERROLB_METRICS_HTTPS
  value: "true"
{{- if index . 1 }}
- name: FERROLB_METRICS_CERT_DIR
  value: /etc/ferrolb/metrics
{{- end }}
{{- end -}}
{{- end -}}

{{- define "ferrolb.certificateMount" -}}
{{- if and (index . 0).Values.prometheus.https.enabled (index . 1) -}}
- name: metrics-certificate
  mountPath: /etc/ferrolb/metrics
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "ferrolb.certificateVolume" -}}
{{- if and (index . 0).Values.prometheus.https.enabled (index . 1) -}}
- name: metrics-certificate
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 292
{{- end -}}
{{- end -}}
