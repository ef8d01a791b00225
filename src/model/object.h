/* model/object.h: Kubernetes objects as typed structs, just the fields that Lintel uses.
 * An object lives in its own arena, is immutable once decoded, and is owned by the store. Strings
 * are NUL-terminated (not counted in n). line = where the item began in its file, 0 = unknown.
 * Source: Kubernetes API v1, networking.k8s.io/v1, discovery.k8s.io/v1. */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "wire/ip.h"

enum object_kind {
    OBJECT_INGRESS,
    OBJECT_INGRESS_CLASS,
    OBJECT_SERVICE,
    OBJECT_ENDPOINT_SLICE,
    OBJECT_ENDPOINTS, /* the legacy kind */
    OBJECT_SECRET,
    OBJECT_CONFIG_MAP,
    OBJECT_NAMESPACE,
    OBJECT_NODE,
    OBJECT_RESOLUTION, /* ours: what the name of an ExternalName Service resolves to */
    OBJECT_KINDS_N
};

struct string_pair {
    struct str key, value;
};

struct string_map { /* sorted by key, keys unique */
    struct string_pair *items;
    uint32_t n;
};

/* False when there is no such key. */
bool string_map_get(const struct string_map *m, struct str key, struct str *ret);

struct object {
    struct arena arena; /* holds everything below, and this struct itself */
    enum object_kind kind;
    struct str namespace_name; /* empty for cluster-scoped kinds; "default" when not given */
    struct str name;
    struct str uid;
    int64_t created_s; /* metadata.creationTimestamp, seconds since 1970; INT64_MAX when not given,
                          so that undated objects count as the newest */
    struct string_map labels, annotations;
    struct str file; /* where it came from; empty = not from a file */
    uint32_t line;   /* of the document's first line */
};

const char *object_kind_name(enum object_kind kind); /* "Ingress" */
bool object_kind_is_cluster_scoped(enum object_kind kind);
/* Frees the object and its arena; o may be NULL. */
void object_free(struct object *o);
/* Same content, whatever the file, line and order of maps. */
bool object_is_equal(const struct object *a, const struct object *b);

struct service_port_ref { /* networking.k8s.io/v1 ServiceBackendPort: one of the two */
    struct str name;      /* empty: by number */
    uint16_t number;      /* 0: by name */
};

struct ingress_backend {
    enum { BACKEND_NONE, BACKEND_SERVICE, BACKEND_RESOURCE } type;
    struct str service;
    struct service_port_ref port;
    struct str resource_kind, resource_name;
    uint32_t line;
};

enum path_type { PATH_EXACT = 1, PATH_PREFIX, PATH_IMPLEMENTATION_SPECIFIC };

struct ingress_path {
    struct str path; /* may be empty with PATH_IMPLEMENTATION_SPECIFIC */
    enum path_type type;
    struct ingress_backend backend;
    uint32_t line;
};

struct ingress_rule {
    struct str host; /* as written; empty = every host */
    struct ingress_path *paths;
    uint32_t path_n;
    uint32_t line;
};

struct ingress_tls {
    struct str *hosts;
    uint32_t host_n;
    struct str secret;
};

struct published_address { /* LoadBalancerIngress, unchecked; either may be empty */
    struct str ip, hostname;
};

struct ingress {
    struct object object;
    bool has_class_name;
    struct str class_name;
    struct ingress_backend default_backend;
    struct ingress_rule *rules;
    uint32_t rule_n;
    struct ingress_tls *tls;
    uint32_t tls_n;
    struct published_address *published; /* status.loadBalancer.ingress */
    uint32_t published_n;
};

struct ingress_class {
    struct object object;
    struct str controller;
};

enum service_type {
    SERVICE_CLUSTER_IP,
    SERVICE_NODE_PORT,
    SERVICE_LOAD_BALANCER,
    SERVICE_EXTERNAL_NAME
};

struct service_port {
    struct str name;
    uint16_t port;
    struct service_port_ref target; /* name or number; neither = same as port */
    struct str protocol;            /* "TCP" when not given */
    struct str app_protocol;
};

struct service {
    struct object object;
    enum service_type type;
    struct str cluster_ip; /* "None" = headless */
    struct str external_name;
    struct service_port *ports;
    uint32_t port_n;
    bool publishes_not_ready;
    struct str *external_ips;
    uint32_t external_ip_n;
    struct published_address *balancers; /* status.loadBalancer.ingress */
    uint32_t balancer_n;
};

struct endpoint_hint { /* the name of a zone or of a node */
    struct str name;
};

struct endpoint {
    struct ip *addresses; /* only the first one counts, as in kube-proxy */
    uint32_t address_n;
    bool is_ready, is_serving,
        is_terminating;                  /* defaults applied: ready and serving when not given */
    struct str target_kind, target_name; /* targetRef: the pod; may be empty */
    struct str node, zone;
    struct endpoint_hint *zone_hints, *node_hints; /* for whom it is: hints.forZones, .forNodes */
    uint32_t zone_hint_n, node_hint_n;
};

struct endpoint_port {
    struct str name;
    uint16_t port; /* 0 = not given: all ports */
    struct str protocol;
    struct str app_protocol;
};

/* discovery.k8s.io/v1 EndpointSlice. A legacy Endpoints object becomes one of these for each
 * subset, chained by next. */
struct endpoint_slice {
    struct object object;
    struct str service; /* label kubernetes.io/service-name, or the name of the Endpoints */
    struct endpoint *endpoints;
    uint32_t endpoint_n;
    struct endpoint_port *ports;
    uint32_t port_n;
    struct endpoint_slice *next; /* further subsets (Endpoints only); NULL at the end */
};

struct data_item {
    struct str key, value; /* value: decoded bytes */
};

struct secret {
    struct object object;
    struct str type;
    struct data_item *data;
    uint32_t data_n;
};

/* False when the Secret has no such item. */
bool secret_get(const struct secret *s, struct str key, struct str *ret);

struct config_map {
    struct object object;
    struct string_map data;
};

struct namespace_object {
    struct object object;
};

struct node_object { /* a machine of the cluster */
    struct object object;
};

struct resolution { /* object.name is the DNS name, lower case, without trailing dot */
    struct object object;
    struct ip *addresses; /* sorted, unique; empty: does not resolve */
    uint32_t address_n;
    bool is_refused; /* it has addresses, but none that may be used */
};
