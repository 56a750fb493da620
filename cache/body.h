/* body.h - what an entry of the history says in full, as JSON. No text of inputs: a plan may show it, the past need not keep it. */
#pragma once

struct buf;
struct outcome;
struct run_info;

void body_of_run(struct buf *body, const struct run_info *run);
void body_of_action(struct buf *body, const struct outcome *outcome);
