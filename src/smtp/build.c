/* SPDX-License-Identifier: ISC */
/*
 * build: a command as the destination gets it, written from what was understood of it and from
 * nothing else (invariant 2): keywords in upper case, one blank between, parameters in one order.
 */
#include "smtp/build.h"

#include "smtp/param.h"
#include "smtp/put.h"

static void put_mail(struct smtp_put *w, const struct smtp_command *cmd,
		     const struct smtp_rebuild *how)
{
	if (cmd->has_size && (how->ext & SMTP_EXT_SIZE)) {
		smtp_put_str(w, " SIZE=");
		smtp_put_number(w, cmd->size);
	}
	if (cmd->has_body && cmd->body_binary) {
		if (how->ext & SMTP_EXT_BINARYMIME)
			smtp_put_str(w, " BODY=BINARYMIME");
	} else if (cmd->body_8bit && (how->ext & SMTP_EXT_8BITMIME)) {
		smtp_put_str(w, " BODY=8BITMIME");
	}
	/* BODY=7BIT says what no BODY says (RFC 6152 3), and makes sendmail take off the eighth bit
	 * before it looks for the end of data: CR LF AE CR LF would be one. */
	if (cmd->smtputf8 && (how->ext & SMTP_EXT_SMTPUTF8))
		smtp_put_str(w, " SMTPUTF8");
	if (how->ext & SMTP_EXT_DSN) {
		if (cmd->ret_full || cmd->ret_hdrs)
			smtp_put_str(w, cmd->ret_full ? " RET=FULL" : " RET=HDRS");
		if (cmd->envid.p) {
			smtp_put_str(w, " ENVID=");
			smtp_put_xtext(w, cmd->envid, !how->trusted);
		}
	}
	if (cmd->has_auth && (how->ext & SMTP_EXT_AUTH)) {
		smtp_put_str(w, " AUTH=");
		if (how->logged_in && !span_eq(cmd->auth, SPAN("<>")))
			smtp_put_xtext(w, cmd->auth, false);
		else
			smtp_put_str(w, "<>");
	}
}

static void put_notify(struct smtp_put *w, uint8_t notify, bool trusted)
{
	static const struct {
		uint8_t bit;
		const char *word;
	} words[] = {
		{ SMTP_NOTIFY_NEVER, "NEVER" },
		{ SMTP_NOTIFY_SUCCESS, "SUCCESS" },
		{ SMTP_NOTIFY_FAILURE, "FAILURE" },
		{ SMTP_NOTIFY_DELAY, "DELAY" },
	};
	const char *before = " NOTIFY=";

	/* A stranger's forged sender would get the report of success: backscatter. */
	if (!trusted)
		notify &= (uint8_t)~SMTP_NOTIFY_SUCCESS;
	if (notify == 0)
		notify = SMTP_NOTIFY_NEVER;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!(notify & words[i].bit))
			continue;
		smtp_put_str(w, before);
		smtp_put_str(w, words[i].word);
		before = ",";
	}
}

static bool is_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= 0x80)
			return false;
	return true;
}

static void put_rcpt(struct smtp_put *w, const struct smtp_command *cmd,
		     const struct smtp_rebuild *how)
{
	if (!(how->ext & SMTP_EXT_DSN))
		return;
	if (cmd->has_notify)
		put_notify(w, cmd->notify, how->trusted);
	if (cmd->orcpt.p && ((how->ext & SMTP_EXT_SMTPUTF8) || is_ascii(cmd->orcpt))) {
		struct span address = smtp_orcpt_address(cmd->orcpt);

		smtp_put_str(w, " ORCPT=");
		smtp_put_span(w, span_of(cmd->orcpt.p, cmd->orcpt.n - address.n));
		smtp_put_xtext(w, address, !how->trusted);
	}
}

static void put_path(struct smtp_put *w, const char *prefix, const struct smtp_path *path)
{
	smtp_put_str(w, prefix);
	if (!w->error)
		w->error = smtp_path_build(path, w->out);
}

static void put_auth(struct smtp_put *w, const struct smtp_command *cmd)
{
	smtp_put_str(w, " ");
	for (size_t i = 0; i < cmd->arg.n; i++) {
		uint8_t c = cmd->arg.p[i];

		c = c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
		smtp_put_span(w, span_of(&c, 1));
	}
	if (cmd->rest.p) {
		smtp_put_str(w, " ");
		smtp_put_span(w, cmd->rest);
	}
}

int smtp_command_build(const struct smtp_command *cmd, const struct smtp_rebuild *how,
		       struct buf *out)
{
	struct smtp_put w = smtp_put_start(out);

	CHECK(cmd->verb > SMTP_VERB_REFUSED && cmd->verb < SMTP_VERB_COUNT);
	smtp_put_str(&w, smtp_verb_name(cmd->verb));
	switch (cmd->verb) {
	case SMTP_VERB_MAIL:
		put_path(&w, " FROM:", &cmd->path);
		put_mail(&w, cmd, how);
		break;
	case SMTP_VERB_RCPT:
		put_path(&w, " TO:", &cmd->path);
		put_rcpt(&w, cmd, how);
		break;
	case SMTP_VERB_BDAT:
		smtp_put_str(&w, " ");
		smtp_put_number(&w, cmd->chunk_size);
		smtp_put_str(&w, cmd->chunk_last ? " LAST" : "");
		break;
	case SMTP_VERB_AUTH:
		put_auth(&w, cmd);
		break;
	default: /* a name, a text or nothing */
		if (cmd->arg.n > 0) {
			smtp_put_str(&w, " ");
			smtp_put_span(&w, cmd->arg);
		}
	}
	smtp_put_str(&w, "\r\n");
	return smtp_put_done(&w);
}
