/* sealing.h - what an apply leaves behind so that the next command has less to read: the seal of what was up to date, and what large manifests were parsed to.
 *
 * Written by apply alone, under the lock; whoever looks may use it. */
#pragma once

#include "session.h"

/* Whether the seal of an earlier run holds: then it was said that there is nothing to do. Asked after session_find, for a plain look at the whole manifest; a seal
 * that does not hold for everything is kept for session_inspect. */
bool sealing_holds(struct session *session);

/* The seal that spares a look at this manifest; NULL: none does. */
const struct seal *sealing_for(struct session *session, const struct shape *shape);

/* What was parsed before, while the cache is open. */
struct recall sealing_recall(struct session *session);

/* Seal what is up to date. `ran`: something was built since the look, so that what was not sealed is looked at again. */
enum status sealing_make(struct session *session, struct shape *shape, bool ran);
