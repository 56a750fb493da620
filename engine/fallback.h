/* fallback.h - failure class and manifest in, the next manifest out. Knows no plan. */
#pragma once

#include "resolve.h"

/* The first entry that lists one of the classes (bits of enum failure_class) and was not tried yet; NULL if there is none. `tried` holds absolute paths. */
const struct fallback_entry *fallback_next(const struct manifest *manifest, unsigned classes, const struct strings *tried);
