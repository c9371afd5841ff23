/* SPDX-License-Identifier: ISC */
/* storm: see storm.h. Here: peers, and a message. */
#include "storm.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct storm all;

unsigned storm_below(unsigned n)
{
	return fake_below(&all.random, n);
}

void storm_begin(uint64_t seed, bool faults)
{
	memset(&all, 0, sizeof(all));
	all.seed = seed;
	all.says = getenv("STORM_SAYS") != NULL;
	all.random = seed * 7919 + 1;
	all.gateway = seed % 2;
	all.full = storm_below(3) == 0;
	all.mischief = faults || storm_below(4) > 0;
	all.lies = all.mischief && storm_below(3) == 0;
	storm_destinations_begin();
	storm_clients_begin();
}

void storm_end(void)
{
	storm_destinations_end();
	storm_clients_end();
}

/* ---- sockets ---- */

void peer_drop(struct peer *p, bool by_reset)
{
	if (p->fd < 0)
		return;
	if (by_reset)
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
			   sizeof(struct linger));
	close(p->fd);
	p->fd = -1;
	p->have = p->n = p->left_at = 0;
	p->said_all = false;
}

void peer_say(struct peer *p, const char *text, size_t n)
{
	if (p->fd < 0 || p->n + n > ROOM)
		return;
	memcpy(p->out + p->n, text, n);
	p->n += n;
}

void peer_say_text(struct peer *p, const char *text)
{
	peer_say(p, text, strlen(text));
}

/* Sends some of what is to be said. */
void peer_push(struct peer *p)
{
	size_t rest = p->n - p->left_at;
	size_t some = storm_below(3) ? rest : rest ? 1 + storm_below((unsigned)rest) : 0;
	ssize_t n = some ? send(p->fd, p->out + p->left_at, some, MSG_NOSIGNAL) : 0;

	if (n > 0)
		p->left_at += (size_t)n;
	if (n < 0 && errno != EAGAIN)
		p->left_at = p->n;
	if (p->left_at == p->n)
		p->left_at = p->n = 0;
}

/* Takes what has come; false: there is no more. */
bool peer_pull(struct peer *p)
{
	size_t room = sizeof(p->in) - p->have;
	ssize_t n = room ? recv(p->fd, p->in + p->have, room, 0) : -1;

	if (n > 0)
		p->have += (size_t)n;
	return n > 0 || (n < 0 && (room == 0 || errno == EAGAIN));
}

void peer_consume(struct peer *p, size_t n)
{
	p->have -= n;
	memmove(p->in, p->in + n, p->have);
}

/* Octets of the next line, without CR LF, or -1. */
long peer_next_line(const struct peer *p)
{
	const char *end = memmem(p->in, p->have, "\r\n", 2);

	return end ? end - p->in : -1;
}

unsigned storm_number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

/* ---- a message: every octet follows from its number and its place ---- */

char storm_octet(unsigned mail, size_t at)
{
	static const char command[] = "MAIL FROM:<";
	size_t line = at / 64, place = at % 64;

	if (place >= 62)
		return "\r\n"[place - 62];
	if (mail % 3 == 0 && line % 300 == 7 && place < sizeof(command) - 1)
		return command[place];
	return (char)('a' + (mail * 7 + line * 3 + place) % 26);
}
