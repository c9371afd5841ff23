/* SPDX-License-Identifier: ISC */
/* window: see window.h. */
#include "session/window.h"

#include "session/session.h"

#define WINDOW_MS 60000

void window_begin(struct session *s)
{
	s->window.began_us = io_now_us(s->ctx->io);
	s->window.bytes = s->window.stood_us = 0;
}

void window_stand(struct session *s)
{
	if (!s->window.stood_us)
		s->window.stood_us = io_now_us(s->ctx->io);
}

void window_go(struct session *s)
{
	struct window *w = &s->window;

	if (w->stood_us)
		w->began_us += io_now_us(s->ctx->io) - w->stood_us;
	w->stood_us = 0;
}

uint64_t window_left_ms(const struct session *s)
{
	uint64_t age_ms = (io_now_us(s->ctx->io) - s->window.began_us) / 1000;

	return age_ms >= WINDOW_MS ? 0 : WINDOW_MS - age_ms;
}

bool window_is_over(const struct session *s)
{
	return s->rt->config->set.min_rate && window_left_ms(s) == 0;
}

bool window_was_too_slow(struct session *s)
{
	uint64_t min = (uint64_t)s->rt->config->set.min_rate;
	uint64_t bytes = s->window.bytes;

	if (!window_is_over(s))
		return false;
	window_begin(s);
	return bytes < min * (WINDOW_MS / 1000);
}
