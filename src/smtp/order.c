/* SPDX-License-Identifier: ISC */
/* order: see order.h. */
#include "smtp/order.h"

#include "base/diag.h"
#include "smtp/base64.h"
#include "smtp/foreign.h"
#include "smtp/line.h"
#include "smtp/param.h"
#include "smtp/words.h"

/* The unknown verb that ends a session. */
#define UNKNOWN_MAX 5

/* What a command may do in a state. */
enum cell {
	NO,	    /* 503, whatever the destination still owes */
	PASS,	    /* passed on, behind commands that are still open */
	SYNC,	    /* passed on once nothing is open */
	SYNC_NO,    /* 503 once nothing is open: an open reply may change the state */
	LOCAL,	    /* answered here: never passed on */
	LOCAL_SYNC, /* the same once nothing is open */
	OURS,	    /* well answered here, once nothing is open */
};

/*
 * Between two chunks of a message the destination hears BDAT, and what ends the message. Whatever
 * else it refuses there, the message may be over for it, and the next chunk's octets are commands:
 * Exim answers HELP so, and the eleventh NOOP.
 */
/* Columns are the states in which commands are read; in all others nothing is, or strictly. */
enum { COL_REFUSED, COL_START, COL_READY, COL_MAIL, COL_CHUNKED, COLS };

static const uint8_t order[SMTP_VERB_COUNT][COLS] = {
	/*                      REFUSED  START    READY    MAIL   CHUNKED */
	[SMTP_VERB_UNKNOWN] = { LOCAL, LOCAL, LOCAL, LOCAL, LOCAL },
	[SMTP_VERB_REFUSED] = { LOCAL, LOCAL, LOCAL, LOCAL, LOCAL },
	[SMTP_VERB_HELO] = { NO, SYNC, SYNC, SYNC, SYNC },
	[SMTP_VERB_EHLO] = { NO, SYNC, SYNC, SYNC, SYNC },
	[SMTP_VERB_MAIL] = { NO, SYNC_NO, SYNC, SYNC_NO, NO },
	[SMTP_VERB_RCPT] = { NO, NO, NO, PASS, NO },
	[SMTP_VERB_DATA] = { NO, NO, NO, PASS, NO },
	[SMTP_VERB_BDAT] = { SYNC, SYNC, SYNC, SYNC, SYNC }, /* and then judge_chunk() */
	[SMTP_VERB_RSET] = { NO, SYNC, SYNC, SYNC, SYNC },
	[SMTP_VERB_NOOP] = { NO, SYNC, SYNC, SYNC, OURS },
	[SMTP_VERB_HELP] = { NO, SYNC, SYNC, SYNC, OURS },
	[SMTP_VERB_AUTH] = { NO, SYNC_NO, SYNC, SYNC_NO, NO },
	[SMTP_VERB_STARTTLS] = { LOCAL_SYNC, LOCAL_SYNC, LOCAL_SYNC, LOCAL_SYNC, LOCAL_SYNC },
	[SMTP_VERB_QUIT] = { SYNC, SYNC, SYNC, SYNC, SYNC },
	[SMTP_VERB_XCLIENT] = { LOCAL_SYNC, LOCAL_SYNC, LOCAL_SYNC, LOCAL_SYNC, LOCAL_SYNC },
	[SMTP_VERB_XFORWARD] = { LOCAL, LOCAL, LOCAL, LOCAL, LOCAL },
};

/* How a state reads its input. */
enum reading { READ_NOT, READ_COMMANDS, READ_CONTINUATION, READ_STRICT };

static const struct {
	uint8_t reading;
	uint8_t column;
} states[SMTP_ORDER_STATES] = {
	[SMTP_ORDER_CONNECT] = { READ_NOT, 0 },
	[SMTP_ORDER_REFUSED] = { READ_COMMANDS, COL_REFUSED },
	[SMTP_ORDER_START] = { READ_COMMANDS, COL_START },
	[SMTP_ORDER_READY] = { READ_COMMANDS, COL_READY },
	[SMTP_ORDER_MAIL] = { READ_COMMANDS, COL_MAIL },
	[SMTP_ORDER_DATA] = { READ_STRICT, 0 },
	[SMTP_ORDER_BODY] = { READ_NOT, 0 },
	[SMTP_ORDER_CHUNK] = { READ_NOT, 0 },
	[SMTP_ORDER_CHUNKED] = { READ_COMMANDS, COL_CHUNKED },
	[SMTP_ORDER_EOD] = { READ_NOT, 0 },
	[SMTP_ORDER_AUTH] = { READ_STRICT, 0 },
	[SMTP_ORDER_AUTH_MORE] = { READ_CONTINUATION, 0 },
	[SMTP_ORDER_QUIT] = { READ_NOT, 0 },
	[SMTP_ORDER_TLS] = { READ_NOT, 0 },
};

static enum smtp_order_event local(struct smtp_order_step *step, const char *reply)
{
	step->reply = reply;
	return SMTP_ORDER_LOCAL;
}

static enum smtp_order_event fatal(struct smtp_order_step *step, enum smtp_words reply,
				   enum reason why)
{
	step->reply = smtp_words(reply);
	step->why = why;
	return SMTP_ORDER_FATAL;
}

/* FAULT is that of its syntax, or NULL. */
static const char *starttls_fault(const struct smtp_order *s, struct smtp_order_view view,
				  const char *fault)
{
	if (s->logged_in)
		return smtp_words(WORD_SEQUENCE);
	if (fault)
		return fault;
	if (!view.tls_offered && !s->tls)
		return smtp_words(WORD_NO_STARTTLS);
	return view.tls_offered && s->state == SMTP_ORDER_READY ? NULL : smtp_words(WORD_SEQUENCE);
}

/* STARTTLS, with nothing open. */
static enum smtp_order_event judge_starttls(const struct smtp_order *s, struct smtp_order_view view,
					    struct smtp_order_step *step, const char *fault)
{
	fault = starttls_fault(s, view, fault);
	return fault ? local(step, fault) : SMTP_ORDER_START_TLS;
}

/* XCLIENT, with nothing open: outside of a transaction, and with nothing behind it. A proxy that
 * has failed to name its client must not go on: what it says next would be said as itself. */
static enum smtp_order_event judge_rename(const struct smtp_order *s, struct smtp_order_view view,
					  struct smtp_order_step *step, const char *fault,
					  bool more)
{
	bool in_order = s->state == SMTP_ORDER_START || s->state == SMTP_ORDER_READY;

	if (!view.may_rename)
		return local(step, smtp_words(WORD_NOT_SERVED));
	if (fault || !in_order || s->logged_in || more)
		return fatal(step, WORD_BAD_XCLIENT, REASON_XCLIENT);
	return SMTP_ORDER_RENAME;
}

/* True for a command that a client must not send in clear (RFC 3207 4). */
static bool needs_tls(struct smtp_order_view view, enum smtp_verb verb)
{
	switch (verb) {
	case SMTP_VERB_NOOP:
	case SMTP_VERB_HELO:
	case SMTP_VERB_EHLO:
	case SMTP_VERB_QUIT:
	case SMTP_VERB_STARTTLS:
	case SMTP_VERB_XCLIENT:
		return false;
	case SMTP_VERB_AUTH:
		return view.needs_tls || view.needs_tls_for_login;
	default:
		return view.needs_tls;
	}
}

/* What the order table does not tell: NULL, or the reply that refuses. */
static const char *refuse_more(const struct smtp_order *s, const struct smtp_command *cmd,
			       bool trusted)
{
	bool none;

	switch (cmd->verb) {
	case SMTP_VERB_AUTH:
		if (s->logged_in)
			return smtp_words(WORD_LOGGED_IN);
		if (smtp_mechanisms_have(&s->mechanisms, cmd->arg))
			return NULL;
		none = smtp_mechanisms_empty(&s->mechanisms) && !smtp_mechanism_forbidden(cmd->arg);
		return smtp_words(none ? WORD_NO_AUTH : WORD_NO_MECHANISM);
	case SMTP_VERB_MAIL:
		if (cmd->path.bare && !trusted)
			return smtp_path_reply(SMTP_PATH_NO_DOMAIN, true);
		return cmd->path.eight_bit && !cmd->smtputf8
			       ? smtp_path_reply(SMTP_PATH_NEEDS_UTF8, true)
			       : NULL;
	case SMTP_VERB_RCPT:
		if (!trusted && !smtp_stranger_fits(cmd))
			return smtp_words(WORD_LONG_ORCPT);
		return cmd->path.eight_bit && !s->smtputf8
			       ? smtp_path_reply(SMTP_PATH_NEEDS_UTF8, false)
			       : NULL;
	case SMTP_VERB_DATA:
		if (s->binary)
			return smtp_words(WORD_BINARY);
		if (s->rcpt_accepted + s->rcpt_open > 0)
			return NULL;
		return smtp_words(s->rcpt_tried ? WORD_NONE_LEFT : WORD_SEQUENCE);
	default:
		return NULL;
	}
}

/*
 * BDAT, with nothing open: what it hangs on is decided. Its octets follow unasked (RFC 3030 2).
 * Where their number cannot be known, and where no server would have expected any, nothing can be
 * read behind it. Where the client could not know better, since it had not seen our refusals yet,
 * they are thrown away by their number; so are the chunks behind one that was refused.
 */
static enum smtp_order_event judge_chunk(const struct smtp_order *s, struct smtp_order_step *step,
					 const char *fault)
{
	bool chunked = s->state == SMTP_ORDER_CHUNKED;
	bool failed = s->mail_failed && s->state == SMTP_ORDER_READY;

	if (!(s->offered & SMTP_EXT_CHUNKING))
		return fatal(step, WORD_NO_BDAT, REASON_BDAT_UNOFFERED);
	if (fault)
		return fatal(step, WORD_BAD_BDAT, REASON_BDAT_SIZE);
	if (!chunked && !failed && (s->state != SMTP_ORDER_MAIL || s->rcpt_tried == 0))
		return fatal(step, WORD_LONE_BDAT, REASON_BDAT_ALONE);
	if (chunked ? !s->chunk_refused : s->rcpt_accepted > 0)
		return SMTP_ORDER_COMMAND;
	step->reply = smtp_words(chunked  ? WORD_CHUNK_REFUSED
				 : failed ? WORD_SEQUENCE
					  : WORD_NONE_LEFT);
	return SMTP_ORDER_DISCARD;
}

/* The next line: LINE, MORE, or FATAL where there is none that can be read. */
static enum smtp_order_event cut_line(struct span in, size_t max, struct smtp_order_step *step)
{
	switch (smtp_line_cut(in, max, &step->line, &step->consumed)) {
	case SMTP_LINE_MORE:
		return SMTP_ORDER_MORE;
	case SMTP_LINE_BAD:
		step->line = span_of(in.p, 0);
		step->consumed = in.n;
		return fatal(step, WORD_BAD_LINE, REASON_BAD_LINE);
	default:
		return SMTP_ORDER_LINE;
	}
}

/* Verbs that are none of SMTP. A client that has not said EHLO yet, or says several, is no mail
 * client that knows one more verb than we do. */
static enum smtp_order_event judge_unknown(const struct smtp_order *s, struct smtp_order_view view,
					   struct smtp_order_step *step, const char *fault)
{
	enum reason foreign = smtp_foreign_word(step->line);

	if (foreign != REASON_NONE)
		return fatal(step, WORD_FOREIGN, foreign);
	if (!s->greeted && view.open) /* that may be the answer to EHLO */
		return SMTP_ORDER_WAIT;
	if (!s->greeted)
		return fatal(step, WORD_NOT_GREETED, REASON_UNKNOWN_VERB);
	if (s->unknown + 1 >= UNKNOWN_MAX)
		return fatal(step, WORD_UNKNOWN_AGAIN, REASON_UNKNOWN_VERB);
	return local(step, fault);
}

/* Where a line belongs: LINE, MORE, or FATAL where none can be read, or none of SMTP. */
static enum smtp_order_event first_line(const struct smtp_order *s, struct span in,
					struct smtp_order_view view, struct smtp_order_step *step)
{
	bool more;
	enum reason foreign = smtp_foreign_octets(in, !s->greeted && !view.open, &more);

	if (more)
		return SMTP_ORDER_MORE;
	if (foreign != REASON_NONE) {
		step->line = span_of(in.p, 0);
		step->consumed = in.n;
		return fatal(step, WORD_FOREIGN, foreign);
	}
	enum smtp_order_event cut = cut_line(in, smtp_line_limit(in), step);

	if (cut == SMTP_ORDER_FATAL && (foreign = smtp_foreign_word(in)) != REASON_NONE)
		return fatal(step, WORD_FOREIGN, foreign);
	return cut;
}

/* True of a command that may not go on while the destination owes replies. */
static bool must_wait(enum cell cell, enum smtp_verb verb, struct smtp_order_view view)
{
	return cell == SYNC || cell == SYNC_NO || cell == LOCAL_SYNC || cell == OURS ||
	       (cell == PASS && (!view.pipelining || (verb == SMTP_VERB_DATA && view.counted)));
}

static enum smtp_order_event next_command(const struct smtp_order *s, struct span in,
					  struct smtp_order_view view, struct smtp_order_step *step)
{
	enum smtp_order_event cut = first_line(s, in, view, step);

	if (cut != SMTP_ORDER_LINE)
		return cut;
	const char *fault = smtp_command_parse(&step->cmd, step->line, s->offered);
	enum cell cell = order[step->cmd.verb][states[s->state].column];

	if (view.open && must_wait(cell, step->cmd.verb, view))
		return SMTP_ORDER_WAIT;
	if (step->cmd.verb == SMTP_VERB_BDAT)
		return judge_chunk(s, step, fault);
	if (step->cmd.verb == SMTP_VERB_UNKNOWN)
		return judge_unknown(s, view, step, fault);
	/* Nothing may follow these before they are answered (RFC 4954 4, RFC 5321 4.1.1.4), and
	 * what does is never read as commands, whatever the answer would have been. */
	if (in.n > step->consumed && step->cmd.verb == SMTP_VERB_AUTH)
		return fatal(step, WORD_EARLY_AUTH, REASON_EARLY_AUTH);
	if (in.n > step->consumed && step->cmd.verb == SMTP_VERB_DATA)
		return fatal(step, WORD_EARLY_DATA, REASON_EARLY_DATA);
	if (cell != NO && needs_tls(view, step->cmd.verb))
		return local(step, smtp_words(WORD_TLS_FIRST));
	if (cell == NO || cell == SYNC_NO)
		return local(step, smtp_words(WORD_SEQUENCE));
	if (step->cmd.verb == SMTP_VERB_STARTTLS)
		return judge_starttls(s, view, step, fault);
	if (step->cmd.verb == SMTP_VERB_XCLIENT)
		return judge_rename(s, view, step, fault, in.n > step->consumed);
	if (cell == LOCAL)
		return local(step, fault);
	if (cell == OURS && !fault)
		return local(step,
			     smtp_words(step->cmd.verb == SMTP_VERB_HELP ? WORD_HELP : WORD_OK));
	if (!fault || (s->logged_in && step->cmd.verb == SMTP_VERB_AUTH))
		fault = refuse_more(s, &step->cmd, view.trusted || s->logged_in);
	if (fault)
		return local(step, fault);
	return SMTP_ORDER_COMMAND;
}

static enum smtp_order_event next_continuation(struct span in, struct smtp_order_view view,
					       struct smtp_order_step *step)
{
	enum smtp_order_event cut;

	if (view.open)
		return SMTP_ORDER_WAIT;
	cut = cut_line(in, SMTP_AUTH_LINE_MAX, step);
	if (cut != SMTP_ORDER_LINE)
		return cut;
	if (in.n > step->consumed)
		return fatal(step, WORD_EARLY_AUTH, REASON_EARLY_AUTH);
	/* "=" is the empty initial response of AUTH alone (RFC 4954 4). */
	if (!smtp_base64_valid(step->line) || span_eq(step->line, SPAN("=")))
		return fatal(step, WORD_BAD_CONTINUATION, REASON_BAD_CONTINUATION);
	return SMTP_ORDER_LINE;
}

enum smtp_order_event smtp_order_next(const struct smtp_order *s, struct span in,
				      struct smtp_order_view view, struct smtp_order_step *step)
{
	switch (states[s->state].reading) {
	case READ_NOT:
		return SMTP_ORDER_WAIT;
	case READ_STRICT:
		if (in.n == 0)
			return SMTP_ORDER_MORE;
		step->consumed = in.n;
		if (s->state == SMTP_ORDER_AUTH)
			fatal(step, WORD_EARLY_AUTH, REASON_EARLY_AUTH);
		else
			fatal(step, WORD_EARLY_DATA, REASON_EARLY_DATA);
		return SMTP_ORDER_EARLY;
	case READ_CONTINUATION:
		return next_continuation(in, view, step);
	default:
		return in.n == 0 ? SMTP_ORDER_MORE : next_command(s, in, view, step);
	}
}

static void forget_transaction(struct smtp_order *s)
{
	s->mail_refused = s->smtputf8 = s->binary = s->chunk_refused = false;
	s->rcpt_tried = s->rcpt_open = s->rcpt_accepted = 0;
}

static void enter(struct smtp_order *s, enum smtp_order_state state)
{
	if (state == SMTP_ORDER_READY) {
		forget_transaction(s);
		if (!s->greeted)
			state = SMTP_ORDER_START;
	}
	s->state = state;
}

void smtp_order_passed(struct smtp_order *s, const struct smtp_command *cmd)
{
	if (cmd->verb != SMTP_VERB_RCPT)
		s->mail_failed = false;
	switch (cmd->verb) {
	case SMTP_VERB_HELO:
	case SMTP_VERB_EHLO:
	case SMTP_VERB_RSET:
		/* Each ends a transaction (RFC 5321 4.1.4, 4.1.1.5), whatever its answer:
		 * forgetting recipients can only refuse more, and every later one is judged anew.
		 */
		enter(s, SMTP_ORDER_READY);
		break;
	case SMTP_VERB_MAIL:
		enter(s, SMTP_ORDER_MAIL);
		s->smtputf8 = cmd->smtputf8;
		s->binary = cmd->body_binary;
		break;
	case SMTP_VERB_RCPT:
		s->rcpt_tried++;
		s->rcpt_open++;
		break;
	case SMTP_VERB_DATA:
		enter(s, SMTP_ORDER_DATA);
		break;
	case SMTP_VERB_BDAT:
		enter(s, SMTP_ORDER_CHUNK);
		break;
	case SMTP_VERB_AUTH:
		s->auth_cancelled = span_eq(cmd->line, SPAN("*"));
		enter(s, SMTP_ORDER_AUTH);
		break;
	case SMTP_VERB_QUIT:
		enter(s, SMTP_ORDER_QUIT);
		break;
	default:
		break;
	}
}

void smtp_order_rcpt_refused(struct smtp_order *s)
{
	s->rcpt_tried++;
}

void smtp_order_unknown(struct smtp_order *s)
{
	if (s->unknown < UNKNOWN_MAX)
		s->unknown++;
}

void smtp_order_mail_refused(struct smtp_order *s)
{
	s->mail_failed = true;
}

void smtp_order_greeted(struct smtp_order *s, unsigned code)
{
	CHECK(s->state == SMTP_ORDER_CONNECT);
	enter(s, code / 100 == 2 ? SMTP_ORDER_START : SMTP_ORDER_REFUSED);
}

static void rcpt_answered(struct smtp_order *s, bool good)
{
	CHECK(s->rcpt_open > 0);
	s->rcpt_open--;
	if (good && !s->mail_refused)
		s->rcpt_accepted++;
}

/* The caller says what is offered now. */
static void hello_answered(struct smtp_order *s)
{
	s->greeted = true;
	s->offered = 0;
	s->mechanisms = (struct smtp_mechanisms){ 0 };
	enter(s, SMTP_ORDER_READY);
}

void smtp_order_answered(struct smtp_order *s, enum smtp_verb verb, unsigned code)
{
	bool good = code / 100 == 2;

	switch (verb) {
	case SMTP_VERB_HELO:
	case SMTP_VERB_EHLO:
		if (good)
			hello_answered(s);
		break;
	case SMTP_VERB_MAIL:
		s->mail_refused = s->mail_failed = !good;
		/* With RCPTs or DATA open behind it the state follows their answers. */
		if (!good && s->state == SMTP_ORDER_MAIL && s->rcpt_open == 0)
			enter(s, SMTP_ORDER_READY);
		break;
	case SMTP_VERB_RCPT:
		rcpt_answered(s, good);
		if (s->mail_refused && s->rcpt_open == 0 && s->state == SMTP_ORDER_MAIL)
			enter(s, SMTP_ORDER_READY);
		break;
	case SMTP_VERB_DATA:
		/* A refused DATA ends the transaction for us: what the destination keeps of it can
		 * only be used by a MAIL that it judges itself. So does one that nobody is left to
		 * receive. */
		enter(s, code == 354 && s->rcpt_accepted > 0 ? SMTP_ORDER_BODY : SMTP_ORDER_READY);
		break;
	case SMTP_VERB_BDAT:
		/* RFC 3030 2: the transaction has failed, RSET must come before anything else. */
		if (!good)
			s->chunk_refused = true;
		break;
	case SMTP_VERB_AUTH:
		if (code == 235)
			s->logged_in = true;
		enter(s, code == 334 ? SMTP_ORDER_AUTH_MORE : SMTP_ORDER_READY);
		break;
	default:
		break;
	}
}

void smtp_order_body_done(struct smtp_order *s)
{
	CHECK(s->state == SMTP_ORDER_BODY);
	enter(s, SMTP_ORDER_EOD);
}

void smtp_order_message_answered(struct smtp_order *s)
{
	CHECK(s->state == SMTP_ORDER_EOD);
	enter(s, SMTP_ORDER_READY);
}

void smtp_order_discards(struct smtp_order *s)
{
	CHECK(s->state == SMTP_ORDER_READY || s->state == SMTP_ORDER_MAIL ||
	      s->state == SMTP_ORDER_CHUNKED);
	s->chunk_refused = true;
	enter(s, SMTP_ORDER_CHUNK);
}

void smtp_order_renamed(struct smtp_order *s)
{
	enter(s, SMTP_ORDER_CONNECT);
}

void smtp_order_starts_tls(struct smtp_order *s)
{
	s->state = SMTP_ORDER_TLS;
}

void smtp_order_tls_done(struct smtp_order *s)
{
	*s = (struct smtp_order){ .state = SMTP_ORDER_START, .tls = true, .unknown = s->unknown };
}

void smtp_order_tls_refused(struct smtp_order *s)
{
	enter(s, SMTP_ORDER_READY);
}

void smtp_order_tls_first(struct smtp_order *s)
{
	s->tls = true;
}

void smtp_order_chunk_done(struct smtp_order *s, bool last)
{
	CHECK(s->state == SMTP_ORDER_CHUNK);
	if (s->mail_failed) /* and there is no transaction */
		enter(s, SMTP_ORDER_READY);
	else
		enter(s, last && !s->chunk_refused ? SMTP_ORDER_EOD : SMTP_ORDER_CHUNKED);
}
