/* controller/views.h: what the health port shows of the pipeline. */
#pragma once

#include "admin/handler.h"
#include "controller/pipeline.h"

/* Borrows p for the life of *ret. */
void views_init(struct admin_views *ret, struct pipeline *p);
