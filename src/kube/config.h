/* kube/config.h: where the Kubernetes API server is and who we are to it: from a kubeconfig file,
 * or from what a pod is given. Secrets in it are wiped when it is freed. Source: kubeconfig v1
 * (clientcmd api v1), /var/run/secrets/kubernetes.io/serviceaccount. */
#pragma once

#include "base/arena.h"
#include "document/diag.h"

/* Texts are NUL-terminated; NULL: not given. Of each pair (pem, file) one is given at most. */
struct kube_config {
    struct arena arena;
    const char *server; /* "https://10.0.0.1:6443" or with a path behind; no slash at the end */
    const char *ca_pem, *ca_file;
    const char *certificate_pem, *certificate_file; /* the client's */
    const char *key_pem, *key_file;
    const char *token;
    const char *token_file;      /* read again as it rotates; wins over token */
    const char *tls_server_name; /* verify for this name instead of the server's host */
    const char *proxy_url;
    const char *namespace_name; /* of the context, or of the pod */
    bool is_insecure;           /* the server's certificate is not verified */
};

/* Reads file; context NULL: its current-context. Relative file names in it count from its folder.
 * What is wrong, or is not supported (exec and auth-provider plugins, basic authentication), is
 * told by on_diag with what to do instead; insecure-skip-tls-verify is a warning. Errors:
 * E_NOTFOUND (no such file; errno), E_PROTO (told), E_NOMEM, E_SYS. Context: controller and offline
 * commands, at start; reads files. */
enum err kube_config_load(const char *file, const char *context, diag_fn *on_diag, void *arg,
                          struct kube_config **ret);
/* What a pod finds: KUBERNETES_SERVICE_HOST and _PORT, and the service account's files in folder
 * (NULL: where kubelet puts them). Errors: E_NOTFOUND (this is no pod; told), E_PROTO (told),
 * E_NOMEM, E_SYS. */
enum err kube_config_in_cluster(const char *folder, diag_fn *on_diag, void *arg,
                                struct kube_config **ret);
void kube_config_free(struct kube_config *c); /* c may be NULL */
