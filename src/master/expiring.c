/* SPDX-License-Identifier: ISC */
/*
 * expiring: certificates that end soon, or have ended, are told of, each once for each of its steps
 * (check/expiry.h); from the beginning after a start, an upgrade and a reload. It is the master
 * that tells, since it has the time and is there once.
 */
#include <string.h>
#include <time.h>

#include "check/expiry.h"
#include "master/inner.h"

/* A clock that is set makes them late by this at most. */
#define LOOK_MS 3600000
/* So many are told of at a time, for the ring of records has an end. */
#define AT_A_TIME 16
#define PAUSE_MS  200

static void tell(struct master *m, const struct keyring_about *about, int64_t now_s)
{
	char words[EXPIRY_WORDS];

	expiry_words(about, now_s, words);
	master_say("certificate: %s", words);
	master_fault(m, "certificate", "%s", words);
}

void expiring_begin(struct master *m)
{
	memset(m->expiry_told, EXPIRY_FAR, sizeof(m->expiry_told));
	m->expiry_ms = 0;
}

/* That of AMONG that is ABOUT too, by its number; MASTER_CERTIFICATES: there is none. */
static unsigned find(const struct keyring_about *about, struct span among)
{
	struct keyring_reader r = { among };
	struct keyring_about each;

	for (unsigned i = 0; i < MASTER_CERTIFICATES && keyring_next_about(&r, &each); i++)
		if (about->until_s == each.until_s && about->file.n == each.file.n &&
		    memcmp(about->file.p, each.file.p, each.file.n) == 0)
			return i;
	return MASTER_CERTIFICATES;
}

void expiring_go_on(struct master *m, const struct version *before)
{
	struct keyring_reader r = { before->chains };
	struct keyring_about about;
	uint8_t told[MASTER_CERTIFICATES];

	memcpy(told, m->expiry_told, sizeof(told));
	expiring_begin(m);
	for (unsigned i = 0; i < MASTER_CERTIFICATES && keyring_next_about(&r, &about); i++) {
		unsigned now = told[i] > EXPIRY_FAR ? find(&about, m->version->chains)
						    : MASTER_CERTIFICATES;

		if (now < MASTER_CERTIFICATES)
			m->expiry_told[now] = told[i];
	}
}

bool expiring_any(const struct master *m)
{
	return m->state == RUNNING && !m->reloading && m->version->chains.n > 0;
}

void expiring_run(struct master *m, uint64_t now_ms)
{
	struct keyring_reader r = { m->version->chains };
	struct keyring_about about;
	int64_t now_s = (int64_t)time(NULL);
	uint64_t wait_ms = LOOK_MS;
	unsigned told = 0;

	if (!expiring_any(m) || now_ms < m->expiry_ms)
		return;
	for (unsigned i = 0; i < MASTER_CERTIFICATES && keyring_next_about(&r, &about); i++) {
		int64_t left_s = about.until_s - now_s, next_s;
		enum expiry e = expiry_of(&about, now_s);

		if (e > m->expiry_told[i]) {
			if (told++ == AT_A_TIME) {
				wait_ms = PAUSE_MS;
				break;
			}
			tell(m, &about, now_s);
			m->expiry_told[i] = (uint8_t)e;
		}
		next_s = e < EXPIRY_OVER ? left_s - expiry_next_s(&about, e) : LOOK_MS / 1000;
		if (next_s < LOOK_MS / 1000 && (uint64_t)next_s * 1000 < wait_ms)
			wait_ms = (uint64_t)next_s * 1000;
	}
	m->expiry_ms = now_ms + wait_ms;
}
