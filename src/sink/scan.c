/* SPDX-License-Identifier: ISC */
/* scan: see scan.h. */
#include "sink/scan.h"

/* CRs that lax mode has held back behind a dot; more than these are given out early, which only
 * means that a line of a dot and more CRs is no end of data. */
static const uint8_t crs[64] = "\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r"
			       "\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r";

/* Octets up to where something must be decided: a dot that begins a line, or the end of IN. */
static size_t text_run(struct sink_scan *sc, struct span in)
{
	size_t at = 0, lf_at;
	const uint8_t *lf;
	bool cr;

	sc->state = SINK_SCAN_TEXT;
	while (at < in.n && (lf = memchr(in.p + at, '\n', in.n - at))) {
		lf_at = (size_t)(lf - in.p);
		cr = lf_at > 0 ? in.p[lf_at - 1] == '\r' : sc->last_cr;
		at = lf_at + 1;
		if ((cr || sc->lax) && (at == in.n || in.p[at] == '.')) {
			sc->state = SINK_SCAN_LINE_START;
			return at;
		}
	}
	sc->last_cr = in.p[in.n - 1] == '\r';
	return in.n;
}

static size_t release(struct sink_scan *sc, struct span *content)
{
	*content = span_of(crs, sc->held);
	sc->held = 0;
	sc->last_cr = true;
	sc->state = SINK_SCAN_TEXT;
	return 0;
}

size_t sink_scan_next(struct sink_scan *sc, struct span in, struct span *content, bool *end)
{
	*content = span_of(in.p, 0);
	*end = false;
	switch (sc->state) {
	case SINK_SCAN_LINE_START:
		sc->last_cr = false;
		if (in.p[0] != '.')
			break;
		sc->state = SINK_SCAN_DOT;
		return 1;
	case SINK_SCAN_DOT:
		if (in.p[0] == '\r') {
			sc->state = SINK_SCAN_DOT_CR;
			sc->held = 1;
			return 1;
		}
		*end = in.p[0] == '\n' && sc->lax;
		if (*end)
			return 1;
		break;
	case SINK_SCAN_DOT_CR:
		*end = in.p[0] == '\n';
		if (*end)
			return 1;
		if (in.p[0] != '\r' || !sc->lax || sc->held == sizeof(crs) - 1)
			return release(sc, content);
		sc->held++;
		return 1;
	case SINK_SCAN_TEXT:
		break;
	}
	content->n = text_run(sc, in);
	return content->n;
}
