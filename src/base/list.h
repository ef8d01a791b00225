/* base/list.h: intrusive doubly linked list; a node knows whether it is linked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Makes l an empty head or an unlinked node. Zeroed memory is an unlinked node, not a head. */
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next != NULL && node->next != node;
}

static inline void list_add_between(struct list *node, struct list *prev, struct list *next)
{
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}

/* At the front: what pop takes next. */
static inline void list_push(struct list *head, struct list *node)
{
    list_add_between(node, head, head->next);
}

/* At the back. */
static inline void list_append(struct list *head, struct list *node)
{
    list_add_between(node, head->prev, head);
}

/* Safe on an unlinked node. */
static inline void list_del(struct list *node)
{
    if (node->next != NULL) {
        node->prev->next = node->next;
        node->next->prev = node->prev;
    }
    list_init(node);
}

/* The front node, unlinked; NULL when empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *node = head->next;
    if (node == head) {
        return NULL;
    }
    list_del(node);
    return node;
}

/* The body may unlink or free it, nothing else. */
#define list_each(it, head)                                                                        \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)
