{{- define "hpc-exporter.pod" -}}
metadata:
  labels:
    {{- include "hpc-exporter.selector" . | nindent 4 }}
    {{- with merge (dict) .Values.podLabels .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  # It never talks to Kubernetes.
  automountServiceAccountToken: false
  enableServiceLinks: false
  serviceAccountName: {{ include "hpc-exporter.serviceAccount" . }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: hpc-exporter
      image: {{ include "hpc-exporter.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config.file=/etc/hpc-exporter/exporter.yml
        # A change of the configuration needs no new pod, and a mistake in it harms nothing.
        - --config.enable-auto-reload
        - --web.listen-address=:9851
        {{- if .Values.web.existingSecret }}
        - --web.config.file=/etc/hpc-exporter-web/web.yml
        {{- end }}
        {{- if gt (int .Values.shards) 1 }}
        - --shard=$(POD_INDEX)
        - --total-shards={{ int .Values.shards }}
        {{- end }}
        {{- range .Values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      {{- if or (gt (int .Values.shards) 1) .Values.extraEnv }}
      env:
        {{- if gt (int .Values.shards) 1 }}
        - name: POD_INDEX
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: 9851
      {{- $startup := dict "httpGet" (dict "path" "/-/healthy" "port" "metrics") "periodSeconds" 2 "failureThreshold" 60 }}
      {{- $liveness := dict "httpGet" (dict "path" "/-/healthy" "port" "metrics") "periodSeconds" 20 "timeoutSeconds" 5 }}
      {{- /* As soon as every target was tried once, however long that takes: a slow start is no reason for a restart. */}}
      {{- $readiness := dict "httpGet" (dict "path" "/-/ready" "port" "metrics") "timeoutSeconds" 5 }}
      {{- if .Values.web.existingSecret }}
      {{- /* Kubernetes can neither log in nor show a certificate. Any answer says that the exporter is alive. */}}
      {{- $answers := dict "command" (list "/opt/hpc-exporter/bin/python" "-m" "exporter.healthcheck") }}
      {{- $startup = dict "exec" $answers "periodSeconds" 5 "timeoutSeconds" 5 "failureThreshold" 24 }}
      {{- $liveness = dict "exec" $answers "periodSeconds" 30 "timeoutSeconds" 5 }}
      {{- $readiness = dict "tcpSocket" (dict "port" "metrics") }}
      {{- end }}
      startupProbe:
        {{- toYaml (merge (dict) .Values.probes.startup $startup) | nindent 8 }}
      livenessProbe:
        {{- toYaml (merge (dict) .Values.probes.liveness $liveness) | nindent 8 }}
      readinessProbe:
        {{- toYaml (merge (dict) .Values.probes.readiness $readiness) | nindent 8 }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/hpc-exporter
          readOnly: true
        - name: state
          mountPath: /var/lib/hpc-exporter
        {{- if .Values.web.existingSecret }}
        - name: web
          mountPath: /etc/hpc-exporter-web
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    # The configuration and the secrets in one folder, as on any machine.
    - name: config
      projected:
        defaultMode: 0440
        sources:
          - configMap:
              name: {{ include "hpc-exporter.fullname" . }}
          {{- with include "hpc-exporter.secret" . }}
          - secret:
              name: {{ . }}
          {{- end }}
    {{- if .Values.web.existingSecret }}
    - name: web
      secret:
        secretName: {{ .Values.web.existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- if not .Values.persistence.enabled }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
