"""Our stand-in for kubelet: one process that runs the pods of all nodes of one embedded cluster as processes.

A pod is a network namespace joined by a veth to its node's; a container is a process in mount, UTS, IPC and PID
namespaces of its own on an overlay of the host's /usr and /etc. Nothing is pulled and nothing is written to the
host.

What a pod spec may say, and what it does here:

- `containers` (one or more): `image` by the last part of its name, looked up in the agent's configuration (anything
  else waits as ErrImagePull); `command`, `args` with `$(VAR)`; `workingDir`; `env` with `value` or
  `fieldRef` (metadata.name, namespace, uid, labels['x'], annotations['x']; spec.nodeName, serviceAccountName;
  status.podIP, podIPs, hostIP, hostIPs); `volumeMounts` (`readOnly`); `ports` (information only, no hostPort);
  `readinessProbe`, `livenessProbe`, `startupProbe` (httpGet, tcpSocket, exec; all timing fields);
  `lifecycle.preStop` (exec, sleep); `terminationMessagePath`, `terminationMessagePolicy`;
- `restartPolicy` Always, OnFailure, Never with back-off 10 s doubling to 5 min, forgotten after 10 min;
  `terminationGracePeriodSeconds`; deletion with preStop, SIGTERM, SIGKILL;
- `volumes`: configMap (items, defaultMode, optional; read once, when the pod starts), emptyDir (in memory, no size
  limit enforced), downwardAPI (read once), projected of configMap, downwardAPI and serviceAccountToken (renewed);
- `securityContext`: runAsUser, runAsGroup, runAsNonRoot, supplementalGroups, fsGroup, allowPrivilegeEscalation,
  capabilities, readOnlyRootFilesystem; `dnsPolicy`, `dnsConfig`; `hostname`, `subdomain`; `serviceAccountName`;
  `enableServiceLinks` (service variables as they are when the pod starts). KUBERNETES_SERVICE_HOST is the API server's
  own address, so that what a pod knows of its cluster's API does not depend on the network under test.

Accepted without effect here: `resources` (nothing is enforced), `seccompProfile` RuntimeDefault and Unconfined,
`imagePullPolicy`, `resizePolicy`, emptyDir `sizeLimit`, `fsGroupChangePolicy`, and what belongs to the scheduler
(affinity, nodeSelector, tolerations, topologySpreadConstraints, priority, schedulerName). **Everything else is
refused**: the pod fails with reason UnsupportedPodSpec and a Warning event that names the fields (`podspec.py` is
the list in code).

Unlike kubelet: until a container is first ready its readiness probe is tried every 0.1 s for 5 s, so a burst of
pods is ready when it is, not at the next period; a read-write root is still an overlay in memory, gone with the
container; one pod sees no other's processes, but users are the host's users. Serves exec, logs and healthz on port
10250; attach and port-forward are answered with 501. When the agent dies its containers die with it; started again
it runs the same pods with the same addresses.
"""
