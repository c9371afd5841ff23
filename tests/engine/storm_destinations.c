/* SPDX-License-Identifier: ISC */
/* The destination of a storm, and its connections (storm.h). */
#include "storm.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct conn {
	struct peer peer;
	bool evil, login, tried, refused, last, deaf;
	bool gone;	/* it has refused a message before its end, and reads no more */
	bool behind;	/* MAIL has come within a transaction */
	unsigned owner; /* who has logged in: the client's number */
	unsigned mail;
	size_t taken, left;
	enum { LINE, BODY, OCTETS_OF_CHUNK } mode;
	bool whole_line; /* of a body, what is taken ends one */
};

static struct conn conns[CONNS];

static bool answer(struct conn *d, unsigned good, unsigned bad, char what, unsigned number)
{
	char text[64];
	bool refuses = bad && storm_below(d->evil ? 4 : 15) == 0;

	snprintf(text, sizeof(text), "%u %c%u x\r\n", refuses ? bad : good, what, number);
	TRACE("d%d > %s", (int)(d - conns), text);
	peer_say_text(&d->peer, text);
	return !refuses;
}

static void end_transaction(struct conn *d)
{
	d->mail = 0;
	d->taken = 0;
	d->behind = false;
}

static void message_came(struct conn *d)
{
	unsigned mail = d->mail;

	if (answer(d, 250, 452, 'E', mail)) {
		MUST(++all.accepted[mail] == 1);
		all.taken[mail] = d->taken;
	} else {
		d->refused = true;
	}
	end_transaction(d);
}

static void take_octet(struct conn *d, char c)
{
	if (!all.lied && !all.spoiled[d->mail])
		MUST(d->mail && c == storm_octet(d->mail, d->taken));
	d->taken++;
}

static void on_mail(struct conn *d, const char *line)
{
	unsigned mail = storm_number(line + 12);

	MUST(mail >= 1 && mail <= all.mails);
	if (!all.lied) {
		MUST(!all.gateway || d->login || !(d->mail || d->tried || d->refused));
		MUST(!d->login || !d->owner || d->owner == all.client_of[mail]);
	}
	if (d->login)
		d->owner = all.client_of[mail];
	d->behind = d->mail != 0;
	if (d->behind) {
		answer(d, 503, 0, 'M', mail);
		return;
	}
	end_transaction(d);
	if (answer(d, 250, 451, 'M', mail))
		d->mail = mail;
}

static void on_rcpt(struct conn *d, const char *line)
{
	unsigned rcpt = storm_number(line + 10);

	MUST(rcpt >= 1 && rcpt <= all.rcpts);
	MUST(!all.far[rcpt] || d->login);
	if (!all.lied && d->mail && !d->behind && !all.spoiled[all.mail_of[rcpt]])
		MUST(all.mail_of[rcpt] == d->mail);
	answer(d, d->mail && !d->behind ? 250 : 503, 550, 'R', rcpt);
}

static void on_chunk(struct conn *d, const char *line)
{
	d->left = strtoul(line + 5, NULL, 10);
	d->last = strstr(line, " LAST") != NULL;
	d->mode = OCTETS_OF_CHUNK;
}

static void on_auth(struct conn *d)
{
	if (storm_below(2) == 0) {
		d->login = true;
		peer_say_text(&d->peer, "235 A1 in\r\n");
	} else {
		d->tried = true;
		peer_say_text(&d->peer, "535 A1 no\r\n");
	}
}

static void on_line(struct conn *d, const char *line)
{
	if (strncmp(line, "EHLO", 4) == 0) {
		end_transaction(d);
		peer_say_text(&d->peer, "250-dest\r\n");
		peer_say_text(&d->peer, storm_below(8) ? "250-PIPELINING\r\n" : "250-8BITMIME\r\n");
		peer_say_text(&d->peer,
			      storm_below(12) ? "250-SIZE\r\n250-CHUNKING\r\n" : "250-DSN\r\n");
		peer_say_text(&d->peer, "250 AUTH PLAIN\r\n");
	} else if (strncmp(line, "MAIL", 4) == 0) {
		on_mail(d, line);
	} else if (strncmp(line, "RCPT", 4) == 0) {
		on_rcpt(d, line);
	} else if (strncmp(line, "BDAT", 4) == 0) {
		on_chunk(d, line);
	} else if (strcmp(line, "DATA") == 0) {
		if (d->mail && !d->behind && storm_below(10)) {
			d->mode = BODY;
			d->whole_line = true;
			answer(d, 354, 0, 'D', d->mail);
		} else {
			answer(d, 451, 0, 'D', d->mail);
		}
	} else if (strncmp(line, "AUTH", 4) == 0 && !strchr(line + 6, ' ')) {
		peer_say_text(&d->peer, "334 \r\n");
	} else if (strncmp(line, "AUTH", 4) == 0 || strcmp(line, "AGEAYg==") == 0) {
		on_auth(d);
	} else if (strcmp(line, "*") == 0 || !*line) {
		d->tried = true;
		peer_say_text(&d->peer, "501 A1 cancelled\r\n");
	} else if (strcmp(line, "QUIT") == 0) {
		peer_say_text(&d->peer, "221 N bye\r\n");
	} else {
		if (strcmp(line, "RSET") == 0 || strncmp(line, "HELO", 4) == 0)
			end_transaction(d);
		answer(d, 250, 0, 'N', 0);
	}
}

/* Takes one thing that was sent; false: it needs more. */
static bool take_line(struct conn *d)
{
	char line[600];
	long n = peer_next_line(&d->peer);

	if (n < 0)
		return false;
	MUST((size_t)n < sizeof(line));
	memcpy(line, d->peer.in, (size_t)n);
	line[n] = '\0';
	peer_consume(&d->peer, (size_t)n + 2);
	TRACE("d%d < %s\n", (int)(d - conns), line);
	on_line(d, line);
	return true;
}

static bool take_body(struct conn *d)
{
	long n = peer_next_line(&d->peer);

	if (n < 0)
		return false;
	if (n == 1 && d->peer.in[0] == '.') {
		peer_consume(&d->peer, 3);
		d->mode = LINE;
		message_came(d);
		return true;
	}
	for (long i = 0; i < n + 2; i++)
		take_octet(d, d->peer.in[i]);
	peer_consume(&d->peer, (size_t)n + 2);
	return true;
}

static bool take_chunk(struct conn *d)
{
	size_t n = d->left < d->peer.have ? d->left : d->peer.have;

	for (size_t i = 0; i < n; i++)
		take_octet(d, d->peer.in[i]);
	peer_consume(&d->peer, n);
	d->left -= n;
	if (d->left > 0)
		return false;
	d->mode = LINE;
	if (d->last)
		message_came(d);
	else
		answer(d, 250, 452, 'B', d->mail);
	return true;
}

static void harm(struct conn *d)
{
	unsigned how = storm_below(8);

	TRACE("d%d harm %u\n", (int)(d - conns), how);
	switch (how) {
	case 0:
		peer_say_text(&d->peer, "421 X going\r\n");
		break;
	case 1:
		peer_drop(&d->peer, false);
		break;
	case 2:
		peer_drop(&d->peer, true);
		break;
	case 3:
		if (d->mode != LINE) {
			peer_say_text(&d->peer, "552 X early\r\n");
			d->gone = true;
		}
		break;
	case 4:
		d->deaf = !d->deaf;
		break;
	case 5:
		if (all.lies) {
			all.lied = true;
			peer_say_text(&d->peer, storm_below(2) ? "250 X1 lie\r\n" : "55");
		}
		break;
	case 6:
		if (all.lies) {
			all.lied = true;
			peer_say_text(&d->peer, "nonsense\r\n");
		}
		break;
	default:
		shutdown(d->peer.fd, SHUT_WR);
	}
}

static void conn_step(struct conn *d)
{
	bool more = d->deaf || peer_pull(&d->peer);

	if (d->gone)
		d->peer.have = 0;
	for (unsigned i = storm_below(6); i > 0 && !d->deaf; i--)
		if (!(d->mode == LINE	? take_line(d)
		      : d->mode == BODY ? take_body(d)
					: take_chunk(d)))
			break;
	if (d->mode == BODY)
		while (!d->deaf && take_body(d) && d->mode == BODY)
			;
	peer_push(&d->peer);
	if (!more && d->peer.n == 0 && (d->peer.have == 0 || storm_below(20) == 0))
		peer_drop(&d->peer, false);
	else if (all.mischief && d->evil && d->peer.fd >= 0 && storm_below(60) == 0)
		harm(d);
}

static void accept_conn(void)
{
	int fd = accept(all.dest_fd, NULL, NULL);
	struct conn *d = conns;

	if (fd < 0)
		return;
	while (d < conns + CONNS && d->peer.fd >= 0)
		d++;
	MUST(d < conns + CONNS);
	set_nonblock(fd);
	char *out = d->peer.out ? d->peer.out : malloc(ROOM);

	*d = (struct conn){ .peer = { .fd = fd, .out = out } };
	d->evil = all.mischief && storm_below(2);
	peer_say_text(&d->peer,
		      d->evil && storm_below(20) == 0 ? "554 G no\r\n" : "220 G dest\r\n");
}

void storm_destinations(void)
{
	if (storm_below(3) == 0)
		accept_conn();
	for (unsigned i = 0; i < CONNS; i++)
		if (conns[i].peer.fd >= 0 && storm_below(2))
			conn_step(&conns[i]);
}

void storm_destinations_leave(void)
{
	for (unsigned i = 0; i < CONNS; i++)
		peer_drop(&conns[i].peer, false);
	close(all.dest_fd);
	all.dest_fd = -1;
}

void storm_destinations_begin(void)
{
	all.dest_fd = tcp_listener(&all.dest_addr);
	set_nonblock(all.dest_fd);
	for (unsigned i = 0; i < CONNS; i++)
		conns[i] = (struct conn){ .peer.fd = -1 };
}

void storm_destinations_end(void)
{
	for (unsigned i = 0; i < CONNS; i++)
		free(conns[i].peer.out);
}
