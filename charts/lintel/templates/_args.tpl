{{/* The command line of `lintel run`, one option a line; each may be there once. Options that only
ingress-nginx has are left out: they have been refused, are "false", or have no effect. */}}
{{- define "lintel.args" -}}
{{- $own := include "lintel.ownArgs" . -}}
{{- $foreign := concat (.Files.Get "files/refused.yaml" | fromYaml | keys) (.Files.Get "files/ignored.yaml" | fromYamlArray) -}}
{{- $own -}}
{{- range $option, $value := .Values.controller.extraArgs }}
{{- $path := printf "controller.extraArgs.%s" $option }}
{{- with regexFind (printf "(?m)^- --%s(=.*)?$" $option) $own }}
{{- fail (printf "\n\nThe value %s: another value of the chart gives this option, as %s.\n" $path (trimPrefix "- " .)) }}
{{- end }}
{{- if not (has $path $foreign) }}
- {{ if eq (toString $value) "" }}--{{ $option }}{{ else }}{{ printf "--%s=%v" $option $value | quote }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Those that follow from other values than extraArgs. */}}
{{- define "lintel.ownArgs" -}}
{{- $c := .Values.controller -}}
{{- $name := include "lintel.fullname" . -}}
{{- $webhook := $c.admissionWebhooks -}}
{{- $own := include "lintel.namespace" . -}}
- --http-port={{ include "lintel.httpPort" . }}
- --https-port={{ include "lintel.httpsPort" . }}
- --snapshot-file=/var/lib/lintel/snapshot
- --shutdown-grace-period={{ $c.shutdownGracePeriodSeconds }}s
- --drain-timeout={{ sub $c.terminationGracePeriodSeconds (add $c.shutdownGracePeriodSeconds 10) }}s
- --ingress-class={{ $c.ingressClass }}
- --controller-class={{ $c.ingressClassResource.controllerValue }}
{{- if $c.ingressClassByName }}
- --ingress-class-by-name
{{- end }}
{{- if $c.watchIngressWithoutClass }}
- --watch-ingress-without-class
{{- end }}
{{- with include "lintel.watchNamespace" . }}
- --watch-namespace={{ eq . $own | ternary "$(POD_NAMESPACE)" . }}
{{- end }}
{{- if and $c.scope.enabled $c.scope.namespaceSelector }}
- --watch-namespace-selector={{ $c.scope.namespaceSelector }}
{{- end }}
{{- if $c.config }}
- --configmap=$(POD_NAMESPACE)/{{ $name }}
{{- end }}
{{- with $c.publishStatusAddress }}
- --publish-status-address={{ . }}
{{- end }}
{{- with include "lintel.publishService" . }}
- --publish-service={{ hasPrefix (printf "%s/" $own) . | ternary (trimPrefix $own . | printf "$(POD_NAMESPACE)%s") . }}
{{- end }}
{{- if $c.reportNodeInternalIp }}
- --report-node-internal-ip-address
{{- end }}
{{- if $c.disableLeaderElection }}
- --disable-leader-election
{{- else }}
- --election-id={{ include "lintel.electionID" . }}
{{- with $c.electionTTL }}
- --election-ttl={{ . }}
{{- end }}
{{- end }}
{{- if $webhook.enabled }}
- --validating-webhook=:{{ $webhook.port }}
{{- if $webhook.existingSecret }}
- --validating-webhook-certificate=/etc/lintel/webhook/tls.crt
- --validating-webhook-key=/etc/lintel/webhook/tls.key
{{- else }}
- --validating-webhook-configuration={{ include "lintel.clusterName" . }}
- --validating-webhook-secret=$(POD_NAMESPACE)/{{ include "lintel.webhookSecret" . }}
{{- end }}
{{- else }}
- --validating-webhook=
{{- end }}
{{- if $c.workers }}
- --workers={{ $c.workers }}
{{- end }}
{{- end -}}
