/* Calls to the Kubernetes API over libcurl's multi interface. */
#include "kube/client.h"

bool kube_result_is_ok(const struct kube_result *r)
{
    return r->error == E_OK && r->status >= 200 && r->status <= 299;
}
