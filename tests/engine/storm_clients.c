/* SPDX-License-Identifier: ISC */
/* The clients of a storm (storm.h). */
#include "storm.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum kind { OTHER, MAIL, RCPT, DATA, MESSAGE, CHUNK, AUTH, CONTINUATION };

struct client {
	struct peer peer;
	unsigned number;
	bool greeted, hello;
	uint8_t waiting[WAITING];
	unsigned waiting_for[WAITING]; /* the mail, or recipient */
	unsigned first, count;
	unsigned mail; /* 0: none */
	unsigned rcpts;
	size_t body_left; /* of the body that it sends */
	bool in_body, chunked;
	bool odd;  /* what it hears answers something else than it thinks */
	bool lost; /* what has become of its transaction: it says RSET next */
};

static struct client clients[CLIENTS];
static unsigned client_numbers;

static size_t say_octets(struct peer *p, unsigned mail, size_t n)
{
	size_t i = 0;

	for (; i < n && p->n + 64 < ROOM; i++)
		p->out[p->n++] = storm_octet(mail, all.sent[mail]++);
	return i;
}

static void ask(struct client *c, enum kind kind, unsigned what, const char *text)
{
	unsigned at = (c->first + c->count) % WAITING;

	if (c->count == WAITING)
		return;
	c->waiting[at] = (uint8_t)kind;
	c->waiting_for[at] = what;
	c->count++;
	TRACE("c%u > %s", c->number, text);
	peer_say_text(&c->peer, text);
}

static enum kind youngest(const struct client *c)
{
	return c->count ? (enum kind)c->waiting[(c->first + c->count - 1) % WAITING] : OTHER;
}

static void ask_mail(struct client *c)
{
	char text[100];

	if (all.mails + 2 >= MAILS)
		return;
	c->mail = ++all.mails;
	c->rcpts = 0;
	c->chunked = false;
	all.client_of[c->mail] = c->number;
	all.spoiled[c->mail] = c->odd;
	snprintf(text, sizeof(text), "MAIL FROM:<s%u@c.test>\r\n", c->mail);
	ask(c, MAIL, c->mail, text);
}

static void ask_rcpt(struct client *c)
{
	unsigned n = all.rcpts + 1;
	char text[100];

	if (n + 2 >= MAILS || c->count + 1 >= WAITING)
		return;
	all.rcpts = n;
	all.mail_of[n] = c->mail;
	all.far[n] = storm_below(6) == 0;
	c->rcpts++;
	snprintf(text, sizeof(text), "RCPT TO:<r%u@%s>\r\n", n,
		 all.far[n] ? "far.example" : "example.net");
	ask(c, RCPT, n, text);
}

static void ask_chunk(struct client *c)
{
	bool last = storm_below(2);
	unsigned n = storm_below(5) == 0 ? storm_below(100000) : storm_below(400);
	char text[64];

	if (c->count + 1 >= WAITING || c->peer.n + n + 200 > ROOM)
		return;
	snprintf(text, sizeof(text), "BDAT %u%s\r\n", n, last ? " LAST" : "");
	ask(c, last ? MESSAGE : CHUNK, c->mail, text);
	say_octets(&c->peer, c->mail, n);
	c->chunked = true;
	if (last)
		c->mail = 0;
}

static void ask_other(struct client *c)
{
	static const char *const texts[] = { "NOOP\r\n",  "EHLO c\r\n", "RSET\r\n", "HELO c\r\n",
					     "BOGUS\r\n", "RSET\r\n",	"HELP\r\n" };
	unsigned which = storm_below(7);

	ask(c, OTHER, 0, texts[which]);
	if (which == 1 || which == 2 || which == 3 || which == 5)
		c->mail = 0;
}

static void ask_something(struct client *c)
{
	unsigned r = storm_below(100);
	enum kind last = youngest(c);

	if (last == CONTINUATION) {
		c->waiting[(c->first + c->count - 1) % WAITING] = AUTH;
		peer_say_text(&c->peer, storm_below(4)	 ? "AGEAYg==\r\n"
					: storm_below(2) ? "*\r\n"
							 : "\r\n");
		return;
	}
	/* After these a client waits; and with BDAT it does not answer DATA. */
	if (c->count + 2 >= WAITING || ((last == DATA || last == AUTH) && storm_below(500)))
		return;
	if (c->count && storm_below(3) == 0)
		return;
	/* Too early; or its message begins so, or its answer to a 334 (RSET is base64). */
	if (last == DATA || last == AUTH)
		c->odd = all.spoiled[c->waiting_for[(c->first + c->count - 1) % WAITING]] = true;
	if (c->lost) {
		c->lost = false;
		c->mail = 0;
		ask(c, OTHER, 0, "RSET\r\n");
	} else if (r < 6)
		ask_other(c);
	else if (r < 8 && c->hello)
		ask(c, AUTH, 0, storm_below(2) ? "AUTH PLAIN\r\n" : "AUTH PLAIN AGEAYg==\r\n");
	else if (r < 9)
		ask(c, OTHER, 0, "QUIT\r\n");
	else if (!c->mail)
		ask_mail(c);
	else if ((c->rcpts == 0 || r < 25) && !c->chunked)
		ask_rcpt(c);
	else if (r < 60 && !c->chunked)
		ask(c, DATA, c->mail, "DATA\r\n");
	else if (c->hello && c->rcpts)
		ask_chunk(c);
}

/* The next octets of a body, or its end. */
static void say_body(struct client *c)
{
	size_t some = c->body_left;

	if (storm_below(2) && some > 64)
		some = storm_below((unsigned)some);
	c->body_left -= say_octets(&c->peer, c->mail, some);
	if (c->body_left > 0)
		return;
	peer_say_text(&c->peer, ".\r\n");
	c->in_body = false;
	c->mail = 0;
}

static void begin_body(struct client *c, unsigned mail)
{
	c->in_body = true;
	c->mail = mail;
	c->count++;
	c->waiting[(c->first + c->count - 1) % WAITING] = MESSAGE;
	c->waiting_for[(c->first + c->count - 1) % WAITING] = mail;
	all.sent[mail] = 0;
	c->body_left = 64 * (size_t)(storm_below(6) ? storm_below(40) : storm_below(12000));
}

/* CODE and TEXT, which begins with who or what answers, are the answer to a KIND of WHAT. */
static void answered(enum kind kind, unsigned what, unsigned code, const char *text)
{
	unsigned of = storm_number(text + 1);
	bool good = code / 100 == 2, tagged = text[1] >= '1' && text[1] <= '9';

	TRACE("  answers kind %d of %u, taken %zu of %zu\n", kind, what, all.taken[what],
	      all.sent[what]);
	if (all.lied)
		return;
	MUST(code != 354 || kind == DATA);
	if (tagged && *text == 'R')
		MUST(kind == RCPT && of == what);
	if (tagged && *text == 'M')
		MUST(kind == MAIL ? of == what : kind == RCPT && of == all.mail_of[what]);
	if (tagged && *text == 'E')
		MUST((kind == MESSAGE || kind == CHUNK) && of == what);
	if (tagged && *text == 'B')
		MUST((kind == CHUNK || (kind == MESSAGE && !good)) && of == what);
	if (!good)
		return;
	if (kind == RCPT)
		MUST(tagged && *text == 'R');
	if (kind == MESSAGE)
		MUST(tagged && *text == 'E' && all.accepted[what] == 1 &&
		     all.taken[what] == all.sent[what]);
	if (kind == CHUNK)
		MUST(tagged && *text == 'B');
}

static void hear_answer(struct client *c, const char *line)
{
	unsigned code = storm_number(line), at = c->first;
	enum kind kind = (enum kind)c->waiting[at];
	unsigned what = c->waiting_for[at];

	if (!c->greeted) {
		c->greeted = true;
		return;
	}
	if (c->count == 0) {
		MUST(code >= 400 || all.lied); /* its last words */
		return;
	}
	if (!c->odd)
		answered(kind, what, code, line + 4);
	c->first = (c->first + 1) % WAITING;
	c->count--;
	if (kind == MAIL && code / 100 != 2 && c->mail == what)
		c->mail = 0;
	if (kind == DATA && code == 354)
		begin_body(c, what);
	else if (kind == DATA)
		c->lost = true;
	if (kind == AUTH && code == 334) {
		c->count++;
		c->first = at;
		c->waiting[at] = CONTINUATION;
	}
}

static void hear_answers(struct client *c)
{
	char line[600];
	long n;

	while ((n = peer_next_line(&c->peer)) >= 0) {
		size_t some = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;

		memcpy(line, c->peer.in, some);
		line[some] = '\0';
		peer_consume(&c->peer, (size_t)n + 2);
		TRACE("c%u < %s\n", c->number, line);
		MUST(some >= 4 && line[0] >= '2' && line[0] <= '5');
		if (strstr(line, "CHUNKING"))
			c->hello = true;
		if (line[3] == ' ')
			hear_answer(c, line);
	}
}

static void come(struct client *c)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&all.proxy_addr, &ss);
	char *out = c->peer.out;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	MUST(fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) == 0);
	set_nonblock(fd);
	*c = (struct client){ .peer = { .fd = fd, .out = out }, .number = ++client_numbers };
	ask(c, OTHER, 0, storm_below(8) ? "EHLO c\r\n" : "HELO c\r\n");
}

static void leave(struct client *c)
{
	unsigned how = storm_below(3);

	TRACE("c%u leaves %u\n", c->number, how);
	if (how == 0 && !c->peer.said_all) {
		shutdown(c->peer.fd, SHUT_WR);
		c->peer.said_all = true;
	} else {
		peer_drop(&c->peer, how == 1);
	}
}

static void client_step(struct client *c, bool more)
{
	if (c->peer.fd < 0) {
		if (more && storm_below(20) == 0)
			come(c);
		return;
	}
	if (!peer_pull(&c->peer)) {
		hear_answers(c);
		peer_drop(&c->peer, false);
		return;
	}
	hear_answers(c);
	if (!c->peer.said_all && c->in_body && (c->peer.n == 0 || storm_below(4) == 0))
		say_body(c);
	else if (!c->peer.said_all && (more || youngest(c) == CONTINUATION) && c->greeted &&
		 c->peer.n < ROOM / 2 && !c->in_body)
		ask_something(c);
	peer_push(&c->peer);
	if (more && all.mischief && storm_below(250) == 0)
		leave(c);
}

void storm_clients(bool more)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (storm_below(2))
			client_step(&clients[i], more);
}

/* Of those that know what they have asked. */
bool storm_clients_are_done(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (clients[i].peer.fd >= 0 && clients[i].count > 0 && !clients[i].odd)
			return false;
	return true;
}

void storm_clients_leave(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		peer_drop(&clients[i].peer, storm_below(2));
}

void storm_clients_begin(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){ .peer.fd = -1, .peer.out = malloc(ROOM) };
		assert_non_null(clients[i].peer.out);
	}
}

void storm_clients_end(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		free(clients[i].peer.out);
}
