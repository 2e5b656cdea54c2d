{{- define "repofanout.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "repofanout.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "repofanout.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "repofanout.selectorLabels" -}}
app.kubernetes.io/name: {{ include "repofanout.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "repofanout.labels" -}}
{{ include "repofanout.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "repofanout.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "repofanout.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "repofanout.image" -}}
{{- $parts := compact (list .Values.global.imageRegistry .Values.image.registry .Values.image.repository) -}}
{{- $name := join "/" $parts -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "repofanout.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if .Values.openshift -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* Settings that `run` and `check` have in common. */}}
{{- define "repofanout.env" -}}
- name: REPOFANOUT_CONTROLLER_NAME
  value: {{ .Values.operator.controllerName | quote }}
- name: REPOFANOUT_NAME_PREFIX
  value: {{ .Values.operator.namePrefix | quote }}
{{- with .Values.operator.clusterID }}
- name: REPOFANOUT_CLUSTER_ID
  value: {{ . | quote }}
{{- end }}
{{- with .Values.operator.allowExisting }}
- name: REPOFANOUT_ALLOW_EXISTING
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.operator.allowReaders }}
- name: REPOFANOUT_ALLOW_READERS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.operator.permissionsBoundary }}
- name: REPOFANOUT_PERMISSIONS_BOUNDARY
  value: {{ . | quote }}
{{- end }}
{{- if .Values.operator.allowNames }}
- name: REPOFANOUT_ALLOW_NAMES
  value: "true"
{{- end }}
{{- if .Values.operator.allowPrune }}
- name: REPOFANOUT_ALLOW_PRUNE
  value: "true"
{{- end }}
{{- if .Values.operator.requireClass }}
- name: REPOFANOUT_REQUIRE_CLASS
  value: "true"
{{- end }}
{{- with .Values.operator.region }}
- name: REPOFANOUT_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.operator.endpointURL }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- if .Values.operator.s3PathStyle }}
- name: REPOFANOUT_S3_PATH_STYLE
  value: "true"
{{- end }}
{{- with .Values.watchNamespaces }}
- name: REPOFANOUT_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: REPOFANOUT_LEADER_ELECT
  value: {{ .Values.leaderElection.enabled | quote }}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether a monitor is rendered: a list of the context, its apiVersion and its kind. */}}
{{- define "repofanout.rendered" -}}
{{- $top := index . 0 -}}
{{- $kind := printf "%s/%s" (index . 1) (index . 2) -}}
{{- if or (eq $top.Values.metrics.renderMode "alwaysRender") ($top.Capabilities.APIVersions.Has $kind) -}}
true
{{- else if eq $top.Values.metrics.renderMode "failIfMissing" -}}
{{- fail (printf "metrics.renderMode is failIfMissing, and the cluster does not know %s: install the Prometheus operator, or say skipIfMissing" $kind) -}}
{{- end -}}
{{- end -}}
