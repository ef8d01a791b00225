/* document/yaml_priv.h: what yaml.c and yaml_scalar.c share. */
#pragma once

#include "document/tree.h"

/* Sets kind and is_true of an unquoted scalar by its text. */
void yaml_plain_type(struct tree_node *node);
