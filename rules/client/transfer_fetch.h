/* transfer_fetch.h - bytes of one part from one source: which answers are taken, what is tried again. For transfer.c alone. */
#pragma once

#include <stdbool.h>

#include "transfer_part.h"

/* Fill the part from a source until it is whole. False: this source cannot; what it gave stays in the part. E0910, E0609, E0905,
 * E0906 end the whole transfer, anything else only this source. `alternatives`: another source may be asked next, so that a slow one is left early. */
bool transfer_from_url(struct part *part, struct transfer *transfer, const struct transfer_source *source, struct http *http, bool alternatives,
	struct error *err);

/* As a guest (part_enter): fetch pieces that nobody has from the source that the owner asks. Whether there were any; what fails is left to the owner. */
bool transfer_lend_a_hand(struct part *part, struct http *http, struct arena *arena);

/* Fill the part from a file on this machine. */
bool transfer_from_path(struct part *part, const struct transfer_source *source, struct error *err);

/* Whether any of its sources is asked over a network. */
bool transfer_has_url(const struct transfer *transfer);
