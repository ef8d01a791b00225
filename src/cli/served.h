/* cli/served.h: what of the objects is served, in a fixed order: for the commands that list it. */
#pragma once

#include "cli/offline.h"

/* The Ingresses that are ours, by namespace and name. Give *ret to mem_free(). Errors: E_NOMEM. */
enum err served_ingresses(const struct offline *o, const struct ingress ***ret, size_t *ret_n);
/* The Service ports that they use, as the snapshot has them, by namespace, name and port. As above.
 */
enum err served_services(const struct offline *o, const struct snap_service ***ret, size_t *ret_n);

/* A backend of an Ingress that is a Service: host and path are empty where the rule has none. */
struct served_rule {
    const struct ingress *ingress;
    struct str host, path;
    const struct ingress_backend *backend;
    bool is_default; /* spec.defaultBackend */
    size_t order;    /* as they were read */
};

/* All of these Ingresses', by namespace, Service and port, then in their order. Give *ret to
 * mem_free(). Errors: E_NOMEM. */
enum err served_rules(const struct ingress *const *ingresses, size_t ingress_n,
                      struct served_rule **ret, size_t *ret_n);
/* Those of them that lead to a Service port, as struct snap_service has it. O(log n). */
const struct served_rule *served_rules_of(const struct served_rule *rules, size_t n,
                                          const struct snap_service *service, size_t *ret_n);
/* Why there are no endpoints: "there is no such Service"; NULL for SNAP_SERVICE_OK. */
const char *served_status_text(uint8_t status);
