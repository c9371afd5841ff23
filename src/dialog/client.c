/* SPDX-License-Identifier: ISC */
/*
 * The dialog's client side: commands as they come, judged, answered here or passed on (dialog.h).
 */
#include "dialog/inner.h"

#include "base/diag.h"
#include "dialog/records.h"
#include "smtp/base64.h"
#include "smtp/build.h"
#include "smtp/line.h"
#include "smtp/words.h"

/* How much longer than its line a rebuilt command may be, and more. */
#define ROOM_REBUILT (SMTP_REBUILT_MORE + 256 + SMTP_IDENTITY_LINE_MAX)

static struct policy_address address_of(const struct dialog *d, const struct smtp_path *path)
{
	return (struct policy_address){
		.local = path->local,
		.domain = path->domain,
		.postmaster = path->postmaster,
		.routed = path->routed,
		.quoted = path->quoted,
		.bounce = d->work->letter.sender[0] == '\0',
	};
}

/* The destination is asked for its limits whatever the client says. */
static void give_as_ehlo(struct dialog *d, struct smtp_command helo)
{
	helo.verb = SMTP_VERB_EHLO;
	dialog_give(d, &helo);
}

/* A judged command, of a client that has a connection of its own. A chunk is the business of the
 * connection that has the recipients. */
static void give(struct dialog *d, const struct smtp_command *cmd)
{
	if (cmd->verb == SMTP_VERB_HELO)
		give_as_ehlo(d, *cmd);
	else
		dialog_give(d, cmd);
}

/* Sends a judged command on. NULL: it was answered here. */
static struct dialog_pending *pass(struct dialog *d, const struct smtp_command *cmd)
{
	struct dialog_pending *p;

	if (!d->gateway.on || cmd->verb == SMTP_VERB_BDAT)
		give(d, cmd);
	else if (!dialog_gateway_pass(d, cmd))
		return NULL;
	p = dialog_add_pending(d, cmd->verb);
	p->as_ehlo = cmd->verb == SMTP_VERB_HELO;
	smtp_order_passed(&d->server, cmd);
	return p;
}

/* TOLD: a record tells of it already. */
static void answer_local(struct dialog *d, const struct smtp_command *cmd, const char *reply,
			 enum reason fatal, bool told)
{
	struct dialog_pending *p = dialog_add_pending(d, cmd->verb);

	dialog_answer_here(p, reply, fatal, told);
	if (!told)
		dialog_note_address(p, cmd);
	dialog_drain(d);
}

/* A RCPT that the destination never hears of. */
static void refuse_rcpt(struct dialog *d, const struct smtp_command *cmd, enum policy_rule rule,
			const char *reply)
{
	char text[SMTP_PATH_MAX + 1];

	d->refusals++;
	smtp_path_text(&cmd->path, text);
	smtp_order_rcpt_refused(&d->server);
	record_recipient(d, text, rule, span_str(reply), false);
	answer_local(d, cmd, reply, REASON_NONE, true);
}

static void on_rcpt(struct dialog *d, const struct smtp_command *cmd)
{
	struct policy_address address = address_of(d, &cmd->path);
	enum policy_rule rule = policy_judge(d->env->policy, &d->who, &address);
	const char *reply =
		policy_accepts(rule) ? dialog_gateway_lacks(d, cmd) : smtp_words(WORD_DENIED);
	struct dialog_pending *p;

	if (reply) {
		refuse_rcpt(d, cmd, rule, reply);
		return;
	}
	p = pass(d, cmd);
	p->rule = (uint8_t)rule;
	smtp_path_text(&cmd->path, p->address);
}

/* The authcid of an AUTH PLAIN response, authzid NUL authcid NUL passwd, none of which holds a NUL,
 * and the last two are not empty (RFC 4616 2). What is not quite that has the password elsewhere.
 */
static struct span plain_name(struct span response)
{
	const uint8_t *id = memchr(response.p, 0, response.n), *stop, *password;
	const uint8_t *end = response.p + response.n;

	if (!id)
		return SPAN("");
	id++;
	stop = memchr(id, 0, (size_t)(end - id));
	if (!stop)
		return SPAN("");
	password = stop + 1;
	if (password == end || memchr(password, 0, (size_t)(end - password)))
		return SPAN("");
	return span_of(id, (size_t)(stop - id));
}

/* The user name of an AUTH PLAIN response or of the first AUTH LOGIN response, for the log.
 * Whatever else the response holds is forgotten here. */
static void note_auth_name(struct dialog *d, struct span response)
{
	struct dialog_work *w = d->work;
	uint8_t text[2 * DIALOG_NAME_MAX];
	size_t n;

	if (w->auth_name_known || !smtp_base64_valid(response) || span_eq(response, SPAN("*")))
		return;
	w->auth_name_known = true;
	n = smtp_base64_decode(response, text, sizeof(text));
	if (strcmp(w->auth_mechanism, "LOGIN") == 0)
		dialog_copy_name(w->auth_name, span_of(text, n));
	else if (strcmp(w->auth_mechanism, "PLAIN") == 0 && n < sizeof(text))
		dialog_copy_name(w->auth_name, plain_name(span_of(text, n)));
	explicit_bzero(text, sizeof(text));
}

/* An attempt to log in begins: what its `login` record will say. */
static void begin_login(struct dialog *d, const struct smtp_command *cmd)
{
	struct dialog_work *w = d->work;
	struct span mechanism = cmd->arg.n ? cmd->arg : SPAN("unknown");
	size_t n = mechanism.n < sizeof(w->auth_mechanism) ? mechanism.n
							   : sizeof(w->auth_mechanism) - 1;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = mechanism.p[i];

		w->auth_mechanism[i] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
	}
	w->auth_mechanism[n] = '\0';
	w->auth_name[0] = '\0';
	w->auth_name_known = false;
	d->auth_open = true;
	if (cmd->rest.p)
		note_auth_name(d, cmd->rest);
}

/* An AUTH continuation: checked octet by octet, it goes on as it is. */
static void on_continuation(struct dialog *d, struct span line)
{
	struct smtp_command cmd = { .verb = SMTP_VERB_AUTH, .line = line };

	note_auth_name(d, line);
	dialog_give_continuation(d, line);
	dialog_add_pending(d, SMTP_VERB_AUTH);
	smtp_order_passed(&d->server, &cmd);
}

/* MAIL says that the message is larger than we take a destination to accept that says no limit.
 * (A limit of its own it tells the client itself.) */
static bool is_more_than_ours(const struct dialog *d, const struct smtp_command *cmd)
{
	return dialog_size_is_ours(d) && cmd->has_size && cmd->size > d->env->message_max;
}

static void on_mail(struct dialog *d, const struct smtp_command *cmd)
{
	const char *lacks =
		is_more_than_ours(d, cmd) ? smtp_words(WORD_TOO_BIG) : dialog_gateway_lacks(d, cmd);

	d->transactions++;
	d->recipients = 0;
	d->work->letter.to_len = 0;
	smtp_path_text(&cmd->path, d->work->letter.sender);
	if (lacks) {
		smtp_order_mail_refused(&d->server);
		answer_local(d, cmd, lacks, REASON_NONE, false);
	} else if (d->gateway.on || dialog_can_forward(d)) {
		pass(d, cmd);
	} else {
		smtp_order_passed(&d->server, cmd); /* it is what is refused */
		dialog_add_pending(d, SMTP_VERB_MAIL);
		dialog_cannot_forward(d);
	}
}

static void on_bdat(struct dialog *d, const struct smtp_command *cmd)
{
	const char *lacks = dialog_gateway_lacks(d, cmd);

	if (lacks) {
		dialog_chunk_refuse(d, cmd, lacks);
		return;
	}
	if (dialog_chunk_is_too_big(d, cmd)) {
		dialog_chunk_too_big(d, cmd);
		return;
	}
	pass(d, cmd);
	dialog_chunk_begin(d, cmd);
}

static void on_command(struct dialog *d, const struct smtp_command *cmd)
{
	switch (cmd->verb) {
	case SMTP_VERB_HELO:
	case SMTP_VERB_EHLO:
		dialog_message_is_given_up(d);
		dialog_note_helo(d, cmd->arg);
		pass(d, cmd);
		break;
	case SMTP_VERB_MAIL:
		on_mail(d, cmd);
		break;
	case SMTP_VERB_RCPT:
		on_rcpt(d, cmd);
		break;
	case SMTP_VERB_BDAT:
		on_bdat(d, cmd);
		break;
	case SMTP_VERB_DATA:
		if (dialog_is_counted(d))
			dialog_counted_begin(d, cmd);
		else
			pass(d, cmd);
		break;
	case SMTP_VERB_AUTH:
		begin_login(d, cmd);
		pass(d, cmd);
		break;
	case SMTP_VERB_RSET:
		dialog_message_is_given_up(d);
		pass(d, cmd);
		break;
	default:
		pass(d, cmd);
	}
}

/* Octets came while the client had to wait. The command that it had to wait for is the youngest. */
static void on_early(struct dialog *d, const char *reply, enum reason why)
{
	struct dialog_work *w = d->work;
	bool told = d->auth_open;

	CHECK(w->count > 0);
	record_login(d, false, span_str(reply));
	dialog_answer_here(dialog_youngest(w), reply, why, told);
	dialog_drain(d);
}

/* True when the next command may be read: there is room for all that it can cause, and no reply of
 * the destination waits for room (it came before this command and must not be taken for its
 * answer). */
static bool room_for_command(const struct dialog *d, struct span in)
{
	const struct dialog_work *w = d->work;
	const struct buf *out = d->gateway.on ? &w->held.octets : &w->to_destination;
	size_t line = smtp_line_limit(in);
	size_t room = line > in.n ? in.n : line;

	return w->count < SMTP_OPEN_MAX - 1 && !smtp_owed_full(&d->destination) &&
	       dialog_has_room(d) && buf_space(out) >= room + ROOM_REBUILT;
}

/* True while an answer of our own that is fatal waits for its turn: nothing after it is read. */
static bool fatal_waits(struct dialog_work *w)
{
	return w->count > 0 && dialog_youngest(w)->answered_by == ANSWERED_BY_US &&
	       dialog_youngest(w)->why;
}

enum progress { PROGRESS, NEEDS_OCTETS, MUST_WAIT };

static bool offers_tls(const struct dialog *d)
{
	return d->env->starttls && d->tls == DIALOG_CLEAR;
}

static bool needs_tls(const struct dialog *d)
{
	return offers_tls(d) && d->env->tls_required && !d->who.in_network;
}

static bool needs_tls_for_login(const struct dialog *d)
{
	return offers_tls(d) && d->env->tls_for_login;
}

/* An AUTH that is not passed on has a record, with the name that it tells: unless it should not
 * have been said in clear at all. */
static void note_attempt(struct dialog *d, const struct smtp_command *cmd)
{
	if (cmd->verb == SMTP_VERB_AUTH && !needs_tls(d) && !needs_tls_for_login(d))
		begin_login(d, cmd);
}

/* A command that is answered here. */
static void on_refused(struct dialog *d, const struct smtp_order_step *s, enum reason fatal)
{
	note_attempt(d, &s->cmd);
	bool told = d->auth_open;

	record_login(d, false, span_str(s->reply));
	if (s->cmd.verb == SMTP_VERB_UNKNOWN)
		smtp_order_unknown(&d->server);
	d->proxy_header |= fatal == REASON_PROXY_HEADER;
	if (d->server.state == SMTP_ORDER_MAIL && s->cmd.verb == SMTP_VERB_RCPT)
		smtp_order_rcpt_refused(&d->server);
	if (d->server.state == SMTP_ORDER_READY && s->cmd.verb == SMTP_VERB_MAIL)
		smtp_order_mail_refused(&d->server);
	answer_local(d, &s->cmd, s->reply, fatal, told);
}

/*
 * MAX_IDLE_COMMANDS: a stranger keeps its seat by recipients and messages alone, not by commands
 * that ask for nothing. A chunk with octets is a part of a message. True: S was one command too
 * many, and the session ends with the answer to it.
 */
static bool is_one_too_many(struct dialog *d, const struct smtp_order_step *s)
{
	const struct smtp_command *cmd = &s->cmd;

	if (!d->env->max_idle || d->who.logged_in || d->who.in_network ||
	    cmd->verb == SMTP_VERB_RCPT || cmd->verb == SMTP_VERB_QUIT ||
	    (cmd->verb == SMTP_VERB_BDAT && cmd->chunk_size > 0))
		return false;
	return ++d->idle_commands > d->env->max_idle;
}

static void on_one_too_many(struct dialog *d, const struct smtp_order_step *s)
{
	note_attempt(d, &s->cmd);
	bool told = d->auth_open;

	record_login(d, false, span_str(smtp_words(WORD_IDLE)));
	answer_local(d, &s->cmd, smtp_words(WORD_IDLE), REASON_MAX_IDLE_COMMANDS, told);
}

/* The destination as the client's dialog has to see it. Half a reply that answers nothing holds up
 * whatever would be passed on: the other half must not be taken for its answer. */
static struct smtp_order_view view_of(const struct dialog *d)
{
	bool owes = smtp_owed_owes(&d->destination);

	/* What is held waits here for whatever the destination owes. */
	if (d->gateway.on)
		return (struct smtp_order_view){
			.open = d->work->count > 0 || d->partial,
			.pipelining = true,
			.trusted = d->who.in_network,
			.tls_offered = offers_tls(d),
			.may_rename = d->may_rename,
			.needs_tls = needs_tls(d),
			.needs_tls_for_login = needs_tls_for_login(d),
			.counted = dialog_is_counted(d),
		};
	return (struct smtp_order_view){
		.open = owes || d->partial,
		.pipelining = owes && (dialog_usable(d) & SMTP_EXT_PIPELINING),
		.trusted = d->who.in_network,
		.tls_offered = offers_tls(d),
		.may_rename = d->may_rename,
		.needs_tls = needs_tls(d),
		.needs_tls_for_login = needs_tls_for_login(d),
		.counted = dialog_is_counted(d),
	};
}

/* True when the client's next octets may be looked at. Those that come too early add nothing to
 * answer, and are never left for later. */
static bool may_look(const struct dialog *d, struct span in)
{
	if (fatal_waits(d->work))
		return false;
	return d->server.state == SMTP_ORDER_AUTH || d->server.state == SMTP_ORDER_DATA ||
	       room_for_command(d, in);
}

/* A whole line of the client's, or octets that came too early. */
static void on_event(struct dialog *d, enum smtp_order_event event, const struct smtp_order_step *s)
{
	bool continuation = d->server.state == SMTP_ORDER_AUTH_MORE;

	if (event == SMTP_ORDER_EARLY) {
		on_early(d, s->reply, s->why);
		return;
	}
	record_received(d, continuation ? NULL : &s->cmd, s->line);
	if (!continuation && is_one_too_many(d, s)) {
		on_one_too_many(d, s);
		return;
	}
	switch (event) {
	case SMTP_ORDER_COMMAND:
		on_command(d, &s->cmd);
		break;
	case SMTP_ORDER_LINE:
		on_continuation(d, s->line);
		break;
	case SMTP_ORDER_DISCARD:
		dialog_chunk_refuse(d, &s->cmd, s->reply);
		break;
	case SMTP_ORDER_START_TLS:
		dialog_starttls(d);
		break;
	case SMTP_ORDER_RENAME:
		dialog_rename(d, &s->cmd.identity);
		break;
	default:
		on_refused(d, s, event == SMTP_ORDER_FATAL ? s->why : REASON_NONE);
	}
}

/* One event of the client's dialog, or why there is none now. */
static enum progress step(struct dialog *d, struct span in, size_t *consumed)
{
	struct smtp_order_step s = { .cmd.verb = SMTP_VERB_UNKNOWN };
	enum smtp_order_event event;

	d->chunk_waits = false;
	if (!may_look(d, in))
		return MUST_WAIT;
	event = smtp_order_next(&d->server, in, view_of(d), &s);
	if (event == SMTP_ORDER_MORE)
		return NEEDS_OCTETS;
	if (event == SMTP_ORDER_WAIT) {
		d->chunk_waits = s.cmd.verb == SMTP_VERB_BDAT;
		return MUST_WAIT;
	}
	*consumed += s.consumed;
	on_event(d, event, &s);
	dialog_gateway_step(d);
	return PROGRESS;
}

size_t dialog_from_client(struct dialog *d, struct span in)
{
	enum progress progress = PROGRESS;
	size_t consumed = 0;

	while (d->end == END_RUNS && progress == PROGRESS)
		progress = step(d, span_from(in, consumed), &consumed);
	if (d->end == END_RUNS && d->client_closed && progress == NEEDS_OCTETS &&
	    d->work->count == 0)
		dialog_end_as(d, END_LOST_CLIENT, REASON_NONE);
	return consumed;
}
