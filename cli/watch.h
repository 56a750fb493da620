/* watch.h - how a run is told: live on a terminal, as plain lines elsewhere, as JSON Lines where that was asked for. */
#pragma once

#include "report/live.h"
#include "report/text.h"
#include "session.h"

enum watch_kind { WATCH_LIVE, WATCH_TEXT, WATCH_JSON };

struct watch {
	enum watch_kind kind;
	struct watcher watcher; /* for the engine */
	struct live live;
	struct text_report text;
};

/* Begin to watch a run of this shape; `plan` is NULL where nothing was planned. The watch stays where it is until watch_end. */
void watch_begin(struct watch *watch, struct session *session, const struct shape *shape, const struct plan *plan);
void watch_end(struct watch *watch);
