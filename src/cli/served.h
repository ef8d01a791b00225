/* cli/served.h: what of the objects is served, in a fixed order: for the commands that list it. */
#pragma once

#include "cli/offline.h"

/* The Ingresses that are ours, by namespace and name. Give *ret to mem_free(). Errors: E_NOMEM. */
enum err served_ingresses(const struct offline *o, const struct ingress ***ret, size_t *ret_n);
/* The Service ports that they use, as the snapshot has them, by namespace, name and port. As above.
 */
enum err served_services(const struct offline *o, const struct snap_service ***ret, size_t *ret_n);

/* Each backend of an Ingress: host and path are empty where the rule has none; is_default:
 * spec.defaultBackend. */
struct served_rule {
    const struct ingress *ingress;
    struct str host, path;
    const struct ingress_backend *backend;
    bool is_default;
};
typedef void served_rule_fn(void *arg, const struct served_rule *rule);
void served_each_rule(const struct ingress *ingress, served_rule_fn *fn, void *arg);
/* The port as a backend writes it, as in struct snap_service; digits has room for 5. */
struct str served_port(const struct ingress_backend *backend, char digits[5]);
/* Why there are no endpoints: "there is no such Service"; NULL for SNAP_SERVICE_OK. */
const char *served_status_text(uint8_t status);
