/* model_adopt.h - a model that is there already: every file compared with what its source says, none fetched. For model.c alone. */
#pragma once

#include <stdbool.h>

#include "crew.h"

/* Read each file of the selection that is not done yet. E0615 if one is missing or has other bytes; which ones, the findings say. */
bool model_adopt(struct snapshot *snapshot, int dirfd, struct fetched *fetched, struct error *err);
