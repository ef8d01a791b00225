{{/* What a pod may do. A port below 1024 needs root to bind it; the workers, which face clients, give
up root and everything with it, for which they and the supervisor need the other four. */}}
{{- define "lintel.isPrivilegedPort" -}}
{{- if lt (min (include "lintel.httpPort" .) (include "lintel.httpsPort" .)) 1024 -}}yes{{- end -}}
{{- end -}}

{{- define "lintel.podSecurity" -}}
seccompProfile:
  type: RuntimeDefault
{{- if include "lintel.isPrivilegedPort" . }}
runAsNonRoot: false
runAsUser: 0
runAsGroup: 0
{{- else }}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
{{- end }}
fsGroup: 65532
{{- with .Values.controller.sysctls }}
sysctls:
{{- range $name, $value := . }}
  - name: {{ $name }}
    value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "lintel.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- if include "lintel.isPrivilegedPort" . }}
  add: [NET_BIND_SERVICE, SETUID, SETGID, SETPCAP, KILL]
{{- end }}
{{- end -}}

{{- define "lintel.readinessProbe" -}}
httpGet:
  path: /readyz
  port: health
periodSeconds: 2
timeoutSeconds: 2
failureThreshold: 3
{{- end -}}

{{- define "lintel.livenessProbe" -}}
httpGet:
  path: /healthz
  port: health
initialDelaySeconds: 5
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: 5
{{- end -}}

{{/* The chart's block of that name with the user's over it: (list . "podSecurity" $values). */}}
{{- define "lintel.merged" -}}
{{- $base := include (printf "lintel.%s" (index . 1)) (index . 0) | fromYaml -}}
{{- mergeOverwrite $base (deepCopy (index . 2)) | toYaml -}}
{{- end -}}

{{- define "lintel.spread" -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "lintel.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{/* The pod template of Deployment and DaemonSet. */}}
{{- define "lintel.pod" -}}
{{- $c := .Values.controller -}}
{{- $webhook := $c.admissionWebhooks -}}
metadata:
  labels:
    {{- include "lintel.selectorLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with $c.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $c.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "lintel.serviceAccount" . }}
  automountServiceAccountToken: true
  terminationGracePeriodSeconds: {{ $c.terminationGracePeriodSeconds }}
  dnsPolicy: {{ default (ternary "ClusterFirstWithHostNet" "ClusterFirst" $c.hostNetwork) $c.dnsPolicy }}
  {{- with $c.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $c.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with $c.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $c.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "lintel.merged" (list . "podSecurity" $c.podSecurityContext) | nindent 4 }}
  containers:
    - name: lintel
      image: {{ include "lintel.image" . | quote }}
      imagePullPolicy: {{ $c.image.pullPolicy }}
      args:
        {{- include "lintel.args" . | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        {{- if not .Values.rbac.scope }}{{/* else nodes may not be read */}}
        - name: NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        {{- end }}
        {{- with $c.extraEnvs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ include "lintel.httpPort" . }}
          {{- if and $c.hostPort.enabled (not $c.hostNetwork) }}
          hostPort: {{ $c.hostPort.ports.http }}
          {{- end }}
        - name: https
          containerPort: {{ include "lintel.httpsPort" . }}
          {{- if and $c.hostPort.enabled (not $c.hostNetwork) }}
          hostPort: {{ $c.hostPort.ports.https }}
          {{- end }}
        - name: health
          containerPort: 10254
        {{- if $webhook.enabled }}
        - name: webhook
          containerPort: {{ $webhook.port }}
        {{- end }}
      readinessProbe:
        {{- include "lintel.merged" (list . "readinessProbe" $c.readinessProbe) | nindent 8 }}
      livenessProbe:
        {{- include "lintel.merged" (list . "livenessProbe" $c.livenessProbe) | nindent 8 }}
      {{- with $c.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "lintel.merged" (list . "containerSecurity" $c.containerSecurityContext) | nindent 8 }}
      volumeMounts:
        - name: state
          mountPath: /var/lib/lintel
        {{- if and $webhook.enabled $webhook.existingSecret }}
        - name: webhook
          mountPath: /etc/lintel/webhook
          readOnly: true
        {{- end }}
        {{- with $c.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $c.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: state
      emptyDir: {}
    {{- if and $webhook.enabled $webhook.existingSecret }}
    - name: webhook
      secret:
        secretName: {{ $webhook.existingSecret }}
    {{- end }}
    {{- with $c.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $c.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $c.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml $c.topologySpreadConstraints | nindent 4 }}
  {{- else if and (not $c.affinity) (ne $c.kind "DaemonSet") }}
  topologySpreadConstraints:
    {{- include "lintel.spread" . | trim | nindent 4 }}
  {{- end }}
{{- end -}}
