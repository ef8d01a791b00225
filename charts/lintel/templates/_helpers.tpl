{{- define "lintel.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lintel.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* For what belongs to the cluster: differs between releases of one name in several namespaces. */}}
{{- define "lintel.clusterName" -}}
{{- $name := include "lintel.fullname" . -}}
{{- $namespace := include "lintel.namespace" . -}}
{{- eq $name $namespace | ternary $name (printf "%s-%s" $namespace $name) -}}
{{- end -}}

{{- define "lintel.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "lintel.labels" -}}
{{ include "lintel.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lintel.serviceAccount" -}}
{{- default (ternary (include "lintel.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "lintel.image" -}}
{{- $image := .Values.controller.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.image }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- end -}}

{{/* Port of the container for HTTP. */}}
{{- define "lintel.httpPort" -}}
{{- default (ternary 80 8080 .Values.controller.hostNetwork) (int .Values.controller.containerPort.http) -}}
{{- end -}}

{{/* Port of the container for HTTPS. */}}
{{- define "lintel.httpsPort" -}}
{{- default (ternary 443 8443 .Values.controller.hostNetwork) (int .Values.controller.containerPort.https) -}}
{{- end -}}

{{/* The namespace that is served; empty for all, or for those that a selector names. */}}
{{- define "lintel.watchNamespace" -}}
{{- $scope := .Values.controller.scope -}}
{{- if and $scope.enabled (not $scope.namespaceSelector) -}}
{{- default .Release.Namespace $scope.namespace -}}
{{- end -}}
{{- end -}}

{{/* The Service whose addresses go into the status of Ingresses, as namespace/name; empty: none. */}}
{{- define "lintel.publishService" -}}
{{- $c := .Values.controller -}}
{{- if and $c.publishService.enabled (not $c.publishStatusAddress) -}}
{{- if $c.publishService.pathOverride -}}
{{- $c.publishService.pathOverride -}}
{{- else if $c.service.enabled -}}
{{- printf "%s/%s" (include "lintel.namespace" .) (include "lintel.fullname" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lintel.electionID" -}}
{{- default (printf "%s-leader" (include "lintel.fullname" .)) .Values.controller.electionID -}}
{{- end -}}

{{/* Secrets that options name: a map of the options to namespace/name. */}}
{{- define "lintel.namedSecrets" -}}
{{- range $option := list "default-ssl-certificate" "ssl-session-ticket-secret" }}
{{- with get $.Values.controller.extraArgs $option }}
{{ $option }}: {{ replace "$(POD_NAMESPACE)" (include "lintel.namespace" $) (toString .) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The Secret in which Lintel keeps the webhook's certificate; empty when another one is given. */}}
{{- define "lintel.webhookSecret" -}}
{{- $webhook := .Values.controller.admissionWebhooks -}}
{{- if and $webhook.enabled (not $webhook.existingSecret) -}}
{{- printf "%s-webhook" (include "lintel.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* "yes" when the value at a path is set to something: (list $ "controller.image.tag"). An option is
by being there, since those without a value have an empty one, but not by "false". */}}
{{- define "lintel.valueAt" -}}
{{- $option := trimPrefix "controller.extraArgs." (index . 1) -}}
{{- if hasPrefix "controller.extraArgs." (index . 1) -}}
{{- $given := (index . 0).Values.controller.extraArgs -}}
{{- if and (hasKey $given $option) (ne (get $given $option | toString) "false") -}}yes{{- end -}}
{{- else -}}
{{- include "lintel.plainValueAt" . -}}
{{- end -}}
{{- end -}}

{{- define "lintel.plainValueAt" -}}
{{- $value := (index . 0).Values | toJson | fromJson -}}
{{- range splitList "." (index . 1) -}}
{{- if kindIs "map" $value -}}
{{- $value = get $value . -}}
{{- else -}}
{{- $value = "" -}}
{{- end -}}
{{- end -}}
{{- if $value -}}yes{{- end -}}
{{- end -}}

{{/* Values that are refused, or that do not go together: the table in files/refused.yaml, and these. */}}
{{- define "lintel.validate" -}}
{{- range $path, $instead := .Files.Get "files/refused.yaml" | fromYaml -}}
{{- if include "lintel.valueAt" (list $ $path) -}}
{{- fail (printf "\n\nThe value %s: %s.\n" $path $instead) -}}
{{- end -}}
{{- end -}}
{{- $c := .Values.controller -}}
{{- if and .Values.rbac.scope (not (include "lintel.watchNamespace" .)) -}}
{{- fail "\n\nThe value rbac.scope: roles of one namespace need controller.scope.enabled, and no namespaceSelector.\n" -}}
{{- end -}}
{{- if and $c.scope.namespace $c.scope.namespaceSelector -}}
{{- fail "\n\nThe value controller.scope: name a namespace or a namespaceSelector, not both.\n" -}}
{{- end -}}
{{- if and $c.autoscaling.enabled (eq $c.kind "DaemonSet") -}}
{{- fail "\n\nThe value controller.autoscaling.enabled: a DaemonSet has one pod on each node; it cannot be scaled.\n" -}}
{{- end -}}
{{- if and .Values.rbac.scope (include "lintel.webhookSecret" .) -}}
{{- fail "\n\nThe value controller.admissionWebhooks: with rbac.scope Lintel may not write the webhook configuration; name an existingSecret.\n" -}}
{{- end -}}
{{- $readable := list (include "lintel.watchNamespace" .) (include "lintel.namespace" .) | uniq -}}
{{- range $option, $secret := include "lintel.namedSecrets" . | fromYaml -}}
{{- if and $.Values.rbac.scope (not (has (splitList "/" $secret | first) $readable)) -}}
{{- fail (printf "\n\nThe value controller.extraArgs.%s: with rbac.scope Lintel reads Secrets of the namespaces %s and no others.\n" $option (join ", " $readable)) -}}
{{- end -}}
{{- end -}}
{{- if not (or $c.service.enableHttp $c.service.enableHttps) -}}
{{- fail "\n\nThe value controller.service: a Service needs a port; leave enableHttp or enableHttps, or set enabled to false.\n" -}}
{{- end -}}
{{- include "lintel.validatePorts" . -}}
{{- if le (int $c.terminationGracePeriodSeconds) (add $c.shutdownGracePeriodSeconds 10) -}}
{{- fail "\n\nThe value controller.terminationGracePeriodSeconds: leave more than 10 s beyond shutdownGracePeriodSeconds.\n" -}}
{{- end -}}
{{- end -}}

{{/* Ports of the container: each can be bound once. */}}
{{- define "lintel.validatePorts" -}}
{{- $taken := dict "10254" "health and metrics" -}}
{{- $wanted := dict "controller.containerPort.http" (include "lintel.httpPort" .) "controller.containerPort.https" (include "lintel.httpsPort" .) -}}
{{- if .Values.controller.admissionWebhooks.enabled -}}
{{- $_ := set $wanted "controller.admissionWebhooks.port" (toString .Values.controller.admissionWebhooks.port) -}}
{{- end -}}
{{- range $path, $port := $wanted -}}
{{- with get $taken $port -}}
{{- fail (printf "\n\nThe value %s: %s is the port of %s, too; take another one.\n" $path $port .) -}}
{{- end -}}
{{- $_ := set $taken $port $path -}}
{{- end -}}
{{- end -}}

{{/* Ports of a Service: (list $ SERVICE), SERVICE being controller.service or its `internal`, which is
as the first one where it does not say otherwise. */}}
{{- define "lintel.servicePorts" -}}
{{- $first := (index . 0).Values.controller.service -}}
{{- $service := index . 1 -}}
{{- range $name := list "http" "https" }}
{{- if get $first (printf "enable%s" (title $name)) }}
- name: {{ $name }}
  port: {{ get $service.ports $name | default (get $first.ports $name) }}
  targetPort: {{ get $service.targetPorts $name | default (get $first.targetPorts $name) }}
  {{- if $service.appProtocol }}
  appProtocol: {{ $name }}
  {{- end }}
  {{- if ne (default $first.type $service.type) "ClusterIP" }}
  {{- with get $service.nodePorts $name }}
  nodePort: {{ . }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}
