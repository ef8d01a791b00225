/* controller/views.h: what the health port shows of the pipeline. */
#pragma once

#include "admin/handler.h"
#include "controller/feedback.h"
#include "controller/pipeline.h"

/* Borrows p and f for the life of *ret. */
void views_init(struct admin_views *ret, struct pipeline *p, struct feedback *f);
