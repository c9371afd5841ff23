/* SPDX-License-Identifier: ISC */
/* world: see world.h. */
#include "world.h"

#include <stdio.h>

#include "fuzz.h"

struct world *all;

static struct client *owner(const struct conn *c)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (all->client[i].conn == c)
			return &all->client[i];
	return NULL;
}

unsigned choose(unsigned n)
{
	uint8_t c;

	if (all->choices.n == 0) {
		all->seed = all->seed * 1664525 + 1013904223;
		return (all->seed >> 16) % n;
	}
	c = fuzz_choice(&all->choices);
	all->seed = all->seed * 31 + c;
	return c % n;
}

void put(struct octets *o, struct span s)
{
	CHECK(o->n + s.n <= OCTETS);
	if (s.n)
		memcpy(o->p + o->n, s.p, s.n);
	o->n += s.n;
}

void put_text(struct octets *o, const char *text)
{
	put(o, span_str(text));
}

struct span rest(const struct octets *o)
{
	return span_of(o->p + o->taken, o->n - o->taken);
}

unsigned mail_of(const struct asked *a)
{
	for (unsigned i = (unsigned)(a - all->asked); i > 0; i--) {
		const struct asked *mail = &all->asked[i];

		if (mail->kind == MAIL && mail->client == a->client &&
		    (mail->good || !mail->answered))
			return i;
	}
	return 0;
}

/* ---- the destination ---- */

void reply(struct conn *c, unsigned code, char what, unsigned number)
{
	char text[64];

	if (choose(8) == 7)
		snprintf(text, sizeof(text), "%u-first\r\n%u %c%u\r\n", code, code, what, number);
	else
		snprintf(text, sizeof(text), "%u %c%u\r\n", code, what, number);
	put_text(&c->out, text);
}

static bool refuses(void)
{
	return choose(6) == 5;
}

static void hello(struct conn *c, bool extended)
{
	if (extended && c->refuses_ehlo) {
		put_text(&c->out, "502 what\r\n");
		return;
	}
	c->greeted = true;
	if (!extended)
		c->ext = 0;
	put_text(&c->out, "250-d\r\n");
	if (c->ext & SMTP_EXT_PIPELINING)
		put_text(&c->out, "250-PIPELINING\r\n");
	if (c->ext & SMTP_EXT_8BITMIME)
		put_text(&c->out, "250-8BITMIME\r\n");
	if (c->ext & SMTP_EXT_DSN)
		put_text(&c->out, "250-DSN\r\n");
	if (c->ext & SMTP_EXT_CHUNKING)
		put_text(&c->out, "250-CHUNKING\r\n");
	if (c->ext & SMTP_EXT_AUTH)
		put_text(&c->out, "250-AUTH PLAIN\r\n");
	if (c->ext & SMTP_EXT_SIZE)
		put_text(&c->out, "250-SIZE 500\r\n");
	put_text(&c->out, "250 X-MORE\r\n");
	if (!(c->ext & SMTP_EXT_SIZE)) /* then nobody may use its chunks */
		c->ext &= ~(uint32_t)SMTP_EXT_CHUNKING;
}

/* Whether a command of this kind may come over C, from the client that has it. */
static void check_tls(const struct conn *c, enum smtp_verb verb)
{
	const struct client *from = owner(c);
	bool needed = from && all->env.starttls && from->d.tls == DIALOG_CLEAR;

	CHECK(verb != SMTP_VERB_STARTTLS);
	if (c->odd || !needed)
		return;
	CHECK(!all->env.tls_for_login || verb != SMTP_VERB_AUTH);
	CHECK(!all->env.tls_required || verb == SMTP_VERB_EHLO || verb == SMTP_VERB_HELO ||
	      verb == SMTP_VERB_RSET || verb == SMTP_VERB_QUIT);
}

static struct asked *asked_of(const struct conn *c, struct span local, char letter,
			      unsigned *number)
{
	char text[16] = "";

	CHECK(local.n > 1 && local.n < sizeof(text) && local.p[0] == letter);
	memcpy(text, local.p + 1, local.n - 1);
	*number = (unsigned)atoi(text);
	CHECK(*number < all->count && all->asked[*number].client == c->owner);
	/* What was said in clear counts for nothing after a handshake. */
	CHECK(!owner(c) || *number >= owner(c)->secure);
	return &all->asked[*number];
}

static void on_mail(struct conn *c, const struct smtp_command *cmd)
{
	unsigned number;
	struct asked *a = asked_of(c, cmd->path.local, 's', &number);

	CHECK(a->kind == MAIL && a->uses == cmd->ext && (c->odd || (cmd->ext & ~c->ext) == 0));
	if (c->mail) {
		CHECK(c->login || c->odd);
		reply(c, 503, 'M', number);
		return;
	}
	if (refuses()) {
		reply(c, choose(2) ? 550 : 450, 'M', number);
		return;
	}
	c->mail = number;
	c->rcpts = 0;
	c->refused = false;
	reply(c, 250, 'M', number);
}

static void on_rcpt(struct conn *c, const struct smtp_command *cmd)
{
	unsigned number;
	struct asked *a = asked_of(c, cmd->path.local, 'r', &number);

	CHECK(a->kind == RCPT && a->uses == cmd->ext && (c->odd || (cmd->ext & ~c->ext) == 0));
	CHECK(c->login || span_eq(cmd->path.domain, SPAN("example.net")));
	CHECK(!c->mail || mail_of(a) == c->mail || c->login || c->odd);
	/* There are some that take recipients without a sender. */
	if (!c->mail && choose(2)) {
		reply(c, 250, 'R', number);
		return;
	}
	if (!c->mail || refuses() || c->rcpts == RCPTS) {
		reply(c, choose(2) ? 550 : 450, 'R', number);
		return;
	}
	c->rcpt[c->rcpts++] = number;
	reply(c, 250, 'R', number);
}

/* The destination says that it has the message: it is for those whom the client believes in. */
static void message_over(struct conn *c)
{
	struct asked *mail = &all->asked[c->mail];
	unsigned good = 0;

	CHECK(c->odd || (c->mail && c->rcpts > 0));
	for (unsigned i = 0; i < all->count; i++)
		if (all->asked[i].kind == RCPT && mail_of(&all->asked[i]) == c->mail)
			good += all->asked[i].good;
	CHECK(c->odd || (good == c->rcpts && !mail->delivered));
	mail->delivered = !c->refused && !refuses();
	reply(c, mail->delivered ? 250 : 452, 'E', c->mail);
	c->mail = 0;
}

static void on_line(struct conn *c, struct span line)
{
	struct smtp_command cmd;

	if (c->mode == CREDENTIALS) {
		c->mode = LINE;
		c->login = span_eq(line, SPAN("AGEAYg==")) && !refuses();
		reply(c, c->login ? 235 : 535, 'A', 0);
		return;
	}
	CHECK(!smtp_command_parse(&cmd, line, 0x7ff));
	check_tls(c, cmd.verb);
	CHECK(c->greeted || c->odd || cmd.verb == SMTP_VERB_EHLO || cmd.verb == SMTP_VERB_HELO);
	switch (cmd.verb) {
	case SMTP_VERB_EHLO:
	case SMTP_VERB_HELO:
		CHECK(!c->mail || c->login || c->odd);
		c->mail = 0;
		hello(c, cmd.verb == SMTP_VERB_EHLO);
		break;
	case SMTP_VERB_MAIL:
		on_mail(c, &cmd);
		break;
	case SMTP_VERB_RCPT:
		on_rcpt(c, &cmd);
		break;
	case SMTP_VERB_DATA:
		/* One that cares for nothing says 354 to whoever asks. */
		if (c->rcpts && c->mail ? refuses() : choose(2)) {
			reply(c, c->rcpts ? 451 : 554, 'D', c->mail);
			if (c->login) /* whose client may go on with MAIL */
				c->mail = 0;
			break;
		}
		reply(c, 354, 'D', c->mail);
		c->mode = BODY;
		c->gives_up = choose(8) == 7 ? 1 + choose(20) : 0;
		break;
	case SMTP_VERB_BDAT:
		CHECK(c->odd || ((c->ext & SMTP_EXT_CHUNKING) && c->mail && c->rcpts));
		/* There are some that take the octets of a chunk behind a refused one for commands.
		 */
		CHECK(c->odd || !c->refused);
		c->mode = CHUNKED;
		c->left = cmd.chunk_size;
		c->last = cmd.chunk_last;
		break;
	case SMTP_VERB_AUTH:
		CHECK(c->odd || ((c->ext & SMTP_EXT_AUTH) && !c->mail && !c->login));
		c->mode = cmd.rest.p ? LINE : CREDENTIALS;
		c->login = cmd.rest.p && !refuses();
		reply(c, c->mode == CREDENTIALS ? 334 : c->login ? 235 : 535, 'A', 0);
		break;
	default:
		CHECK(c->login || c->odd); /* or it would be Caronte's to answer */
		if (cmd.verb == SMTP_VERB_RSET)
			c->mail = 0;
		reply(c, cmd.verb == SMTP_VERB_QUIT ? 221 : 250, 'N', 0);
	}
}

/* Octets up to the end of a message of which IN begins at the start of a line; 0: none. */
static size_t end_of(struct span in)
{
	const uint8_t *end = in.n ? memmem(in.p, in.n, "\r\n.\r\n", 5) : NULL;

	if (in.n >= 3 && memcmp(in.p, ".\r\n", 3) == 0)
		return 3;
	return end ? (size_t)(end - in.p) + 5 : 0;
}

/* What it says in the middle of a message is no answer to anybody's command. */
static bool step_swallowing(struct conn *c, struct span in)
{
	size_t n = end_of(in);

	if (n == 0)
		return false;
	c->in.taken += n;
	c->mode = LINE;
	c->mail = c->rcpts = 0;
	put_text(&c->out, "452 full\r\n");
	return true;
}

/* A line of a message that it has given up, or, where it has found the end, of what comes next. */
static void on_lost_line(struct conn *c, struct span line)
{
	struct smtp_command cmd;
	bool good = !smtp_command_parse(&cmd, line, 0x7ff);

	c->smuggled |= good && cmd.verb == SMTP_VERB_MAIL;
	/* Nobody has judged this recipient. */
	CHECK(!c->smuggled || !good || cmd.verb != SMTP_VERB_RCPT || c->login ||
	      span_eq(cmd.path.domain, SPAN("example.net")));
	put_text(&c->out, "500 what\r\n");
}

static bool step_body(struct conn *c, struct span in)
{
	size_t n = end_of(in);

	if (c->gives_up && in.n >= c->gives_up && (n == 0 || n > c->gives_up)) {
		c->in.taken += c->gives_up;
		c->mode = SWALLOWING;
		c->lost = c->odd = true;
		if (owner(c))
			owner(c)->odd = true;
		return true;
	}
	if (n == 0)
		return false;
	c->in.taken += n;
	CHECK(c->odd || (c->mail && c->rcpts > 0)); /* no dot without a recipient */
	c->mode = LINE;
	message_over(c);
	return true;
}

static bool step_chunk(struct conn *c, struct span in)
{
	size_t n = c->left < in.n ? (size_t)c->left : in.n;

	c->left -= n;
	c->in.taken += n;
	if (c->left > 0)
		return n > 0;
	c->mode = LINE;
	if (c->last) {
		message_over(c);
		return true;
	}
	c->refused |= refuses();
	reply(c, c->refused ? 452 : 250, 'B', c->mail);
	return true;
}

bool conn_step(struct conn *c)
{
	struct span in = rest(&c->in);
	const uint8_t *end;

	if (c->dead || c->closing)
		return false;
	if (c->mode == BODY)
		return step_body(c, in);
	if (c->mode == SWALLOWING)
		return step_swallowing(c, in);
	if (c->mode == CHUNKED)
		return step_chunk(c, in);
	end = in.n ? memchr(in.p, '\n', in.n) : NULL;
	if (!end)
		return false;
	CHECK(c->lost || (end > in.p && end[-1] == '\r'));
	c->in.taken += (size_t)(end - in.p) + 1;
	if (c->lost)
		on_lost_line(c, span_of(in.p, (size_t)(end - in.p) - (end > in.p)));
	else
		on_line(c, span_of(in.p, (size_t)(end - in.p) - 1));
	return true;
}
