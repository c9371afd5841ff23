/* SPDX-License-Identifier: ISC */
/*
 * How many connections at a time a destination takes from one client: all of Caronte's sessions
 * come from one address. They are opened together, greeted or not, and closed by QUIT.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/check_destination.h"
#include "ctl/check_destination_tls.h"
#include "io/net.h"

#define GREETING_MS 5000
#define ROOM	    512 /* of a greeting; a longer one is cut off */

struct caller {
	size_t got;
	int fd; /* negative: none */
	bool done, welcome;
	char in[ROOM];
};

static void call(struct caller *c, const struct probe_place *at, uint64_t until)
{
	int res;

	*c = (struct caller){ .fd = probe_socket(at) };
	res = c->fd >= 0 ? probe_connect(c->fd, at, until) : 0;
	c->done = res != 0 && res != -EINPROGRESS;
}

static void hear(struct caller *c)
{
	ssize_t n = recv(c->fd, c->in + c->got, ROOM - 1 - c->got, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->got += (size_t)n;
	c->in[c->got] = '\0';
	c->done = n <= 0 || c->got == ROOM - 1 || memchr(c->in, '\n', c->got);
	c->welcome = strncmp(c->in, "220", 3) == 0;
}

/* True when all have heard something before UNTIL. */
static void listen_to(struct caller *c, unsigned n, uint64_t until)
{
	struct pollfd p[DESTINATION_CROWD_MAX];

	for (;;) {
		uint64_t now = probe_now_ms();
		unsigned waiting = 0;

		for (unsigned i = 0; i < n; i++) {
			p[i] = (struct pollfd){ .fd = c[i].done ? -1 : c[i].fd, .events = POLLIN };
			waiting += !c[i].done;
		}
		if (waiting == 0 || now >= until)
			return;
		if (poll(p, n, (int)(until - now)) < 0)
			continue;
		for (unsigned i = 0; i < n; i++)
			if (p[i].fd >= 0 && p[i].revents)
				hear(&c[i]);
	}
}

static void hang_up(struct caller *c)
{
	/* Whether that arrives does not matter: the connection ends either way. */
	if (c->welcome && send(c->fd, smtp_hello_quit, strlen(smtp_hello_quit), MSG_NOSIGNAL) < 0)
		c->welcome = false;
	close(c->fd);
}

static void say(struct destination_check *k, struct caller *c, unsigned n)
{
	unsigned refused = 0, late = 0, first = 0;
	char words[DESTINATION_TEXT];

	for (unsigned i = n; i-- > 0;) {
		refused += c[i].done && !c[i].welcome;
		late += !c[i].done;
		if (c[i].done && !c[i].welcome)
			first = i;
	}
	if (refused) {
		destination_escape(span_of(c[first].in, c[first].got), words);
		destination_warn(
			k,
			"all sessions come from Caronte's address: Postfix "
			"smtpd_client_connection_count_limit, or that address in "
			"smtpd_client_event_limit_exceptions; Exim smtp_accept_max_per_host "
			"and smtp_accept_max; OpenSMTPD: its limit on open files; or max=N "
			"in DESTINATIONS of Caronte",
			"of %u connections at a time it refuses %u, the %u. as the first: "
			"%s",
			n, refused, first + 1, c[first].got ? words : "closed");
	}
	if (late)
		destination_note(k,
				 "of %u connections at a time it greets %u within %u s, the others "
				 "wait: it serves no more at a time, or is slow (in Postfix see "
				 "default_process_limit)",
				 n, n - refused - late, GREETING_MS / 1000);
	else if (!refused)
		destination_good(k, "it takes %u connections at a time", n);
}

void destination_check_crowd(struct destination_check *k)
{
	struct caller c[DESTINATION_CROWD_MAX];
	unsigned n = k->crowd < DESTINATION_CROWD_MAX ? k->crowd : DESTINATION_CROWD_MAX;
	uint64_t until = probe_now_ms() + GREETING_MS;

	if (n < 2)
		return;
	if (k->at.tls && k->at.tls->secure->wrap) {
		destination_note(k,
				 "how many connections it takes at a time is not tried where TLS "
				 "comes first");
		return;
	}
	if (route_identity_binds(k->at.identity)) {
		destination_note(k,
				 "how many connections of Caronte it takes at a time is not tried: "
				 "it counts those of each client");
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		call(&c[i], &k->at, until);
		if (c[i].fd < 0)
			n = i; /* so many descriptors we may have */
	}
	listen_to(c, n, until);
	say(k, c, n);
	for (unsigned i = 0; i < n; i++)
		hang_up(&c[i]);
}
