#include "fallback.h"

const struct fallback_entry *
fallback_next(const struct manifest *manifest, unsigned classes, const struct strings *tried)
{
	for (size_t i = 0; i < manifest->fallback_count; i++) {
		const struct fallback_entry *entry = &manifest->fallbacks[i];

		if ((entry->classes & classes) && !strings_has(tried, entry->manifest))
			return entry;
	}
	return NULL;
}
