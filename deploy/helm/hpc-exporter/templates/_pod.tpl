{{- define "hpc-exporter.pod" -}}
metadata:
  labels:
    {{- include "hpc-exporter.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
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
  securityContext:
    runAsNonRoot: true
    runAsUser: 9851
    runAsGroup: 9851
    fsGroup: 9851
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
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
      {{- if gt (int .Values.shards) 1 }}
      env:
        - name: POD_INDEX
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
      {{- end }}
      ports:
        - name: metrics
          containerPort: 9851
      {{- if .Values.web.existingSecret }}
      # Kubernetes can neither log in nor show a certificate. Any answer says that the exporter is alive.
      {{- $probe := "[/opt/hpc-exporter/bin/python, -m, exporter.healthcheck]" }}
      startupProbe:
        exec:
          command: {{ $probe }}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 24
      livenessProbe:
        exec:
          command: {{ $probe }}
        periodSeconds: 30
        timeoutSeconds: 5
      readinessProbe:
        tcpSocket:
          port: metrics
      {{- else }}
      startupProbe:
        httpGet:
          path: /-/healthy
          port: metrics
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet:
          path: /-/healthy
          port: metrics
        periodSeconds: 20
        timeoutSeconds: 5
      # As soon as every target was tried once, however long that takes: a slow start is no reason for a restart.
      readinessProbe:
        httpGet:
          path: /-/ready
          port: metrics
        timeoutSeconds: 5
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
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
