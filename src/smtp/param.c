/* SPDX-License-Identifier: ISC */
/*
 * param: the parameters of MAIL and RCPT: RFC 5321 4.1.2, RFC 1870 SIZE, RFC 6152 and 3030 BODY,
 * RFC 6531 SMTPUTF8, RFC 3461 and 6533 RET, ENVID, NOTIFY, ORCPT, RFC 4954 5 AUTH. Each once, each
 * only when its extension was offered. Text that is no parameter at all ("<other@path>", a comment)
 * is text beside the path: 501 5.1.3 or 5.1.7. What is kept of a value is opaque but checked to its
 * last octet, decoded too: it ends up in the header of somebody's bounce.
 */
#include "smtp/param.h"

#include "smtp/utf8.h"
#include "smtp/words.h"

struct param {
	const char *keyword;
	enum smtp_verb verb;
	uint32_t ext; /* offered by any of these */
	bool valued;
	const char *(*parse)(struct smtp_command *cmd, struct span value, uint32_t offered);
};

struct span smtp_word(struct span *in)
{
	size_t n = 0;
	struct span word;

	while (n < in->n && in->p[n] != ' ')
		n++;
	word = span_of(in->p, n);
	while (n < in->n && in->p[n] == ' ')
		n++;
	*in = span_from(*in, n);
	return word;
}

bool smtp_number(struct span s, uint64_t *number)
{
	*number = 0;
	if (s.n < 1 || s.n > 20)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(*number, 10u, number) ||
		    __builtin_add_overflow(*number, s.p[i] - (unsigned)'0', number))
			return false;
	}
	return true;
}

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The octet that "+HH" at the start of S stands for, -1: none that may stand there. */
static int decode_hex(struct span s)
{
	int high = s.n < 3 ? -1 : hex(s.p[1]), low = s.n < 3 ? -1 : hex(s.p[2]);

	if (high < 0 || low < 0)
		return -1;
	int c = high << 4 | low;

	return c < 0x20 || c > 0x7e ? -1 : c;
}

/* xtext (RFC 3461 4) of at least one octet that decodes to printable ASCII; *DECODED is how many.
 * Lower case in +HH and "=", which the RFC excludes and clients send, are taken: what is built has
 * neither. */
static bool xtext_valid(struct span s, size_t *decoded)
{
	*decoded = 0;
	for (size_t i = 0; i < s.n; i++, ++*decoded) {
		if (s.p[i] < 0x21 || s.p[i] > 0x7e)
			return false;
		if (s.p[i] != '+')
			continue;
		if (decode_hex(span_from(s, i)) < 0)
			return false;
		i += 2;
	}
	return *decoded > 0;
}

/* Octets that only +HH may stand for: in a stranger's value, those too that a server which pastes
 * it into an address, a comment or a command could take for the value's end. */
static bool is_encoded(uint8_t c, bool stranger)
{
	return c == '=' || (stranger && c && strchr("<>\"\\,;()", c));
}

size_t smtp_xtext_length(struct span value, bool stranger)
{
	size_t n = value.n;

	for (size_t i = 0; i < value.n; i++)
		n += is_encoded(value.p[i], stranger) ? 2 : 0;
	return n;
}

void smtp_put_xtext(struct smtp_put *w, struct span value, bool stranger)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < value.n; i++) {
		uint8_t c = value.p[i];
		bool encoded = is_encoded(c, stranger);

		if (c == '+') {
			c = (uint8_t)decode_hex(span_from(value, i));
			i += 2;
			encoded = true;
		}
		uint8_t text[3] = { '+', (uint8_t)digits[c >> 4], (uint8_t)digits[c & 15] };

		smtp_put_span(w, encoded ? span_of(text, 3) : span_of(&c, 1));
	}
}

struct span smtp_orcpt_address(struct span orcpt)
{
	const uint8_t *semicolon = memchr(orcpt.p, ';', orcpt.n);

	return semicolon ? span_from(orcpt, (size_t)(semicolon - orcpt.p) + 1) : span_of(NULL, 0);
}

static bool orcpt_fits(const struct smtp_command *cmd, bool stranger)
{
	struct span address = smtp_orcpt_address(cmd->orcpt);

	return cmd->orcpt.n - address.n + smtp_xtext_length(address, stranger) <= SMTP_ORCPT_MAX;
}

bool smtp_stranger_fits(const struct smtp_command *cmd)
{
	return !cmd->orcpt.p || orcpt_fits(cmd, true);
}

static const char *param_size(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	(void)offered;
	cmd->has_size = true;
	return smtp_number(value, &cmd->size) ? NULL : smtp_words(WORD_BAD_VALUE);
}

static const char *param_body(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	uint32_t need = SMTP_EXT_8BITMIME;

	if (span_eq_nocase(value, SPAN("8BITMIME")))
		cmd->body_8bit = true;
	else if (span_eq_nocase(value, SPAN("BINARYMIME")))
		cmd->body_binary = true, need = SMTP_EXT_BINARYMIME;
	else if (!span_eq_nocase(value, SPAN("7BIT")))
		return smtp_words(WORD_BAD_VALUE);
	if (!(offered & need))
		return smtp_words(WORD_BAD_PARAM);
	cmd->has_body = true;
	cmd->ext |= need;
	return NULL;
}

static const char *param_smtputf8(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	(void)value, (void)offered;
	cmd->smtputf8 = true;
	cmd->ext |= SMTP_EXT_SMTPUTF8;
	return NULL;
}

static const char *param_ret(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	(void)offered;
	cmd->ret_full = span_eq_nocase(value, SPAN("FULL"));
	cmd->ret_hdrs = span_eq_nocase(value, SPAN("HDRS"));
	return cmd->ret_full || cmd->ret_hdrs ? NULL : smtp_words(WORD_BAD_VALUE);
}

static const char *param_envid(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	size_t decoded;

	(void)offered;
	cmd->envid = value;
	if (!xtext_valid(value, &decoded) || decoded > SMTP_ENVID_MAX)
		return smtp_words(WORD_BAD_VALUE);
	return NULL;
}

static const char *param_auth(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	size_t decoded;

	(void)offered;
	cmd->has_auth = true;
	cmd->auth = value;
	if (span_eq(value, SPAN("<>")))
		return NULL;
	if (!xtext_valid(value, &decoded) || smtp_xtext_length(value, false) > SMTP_AUTH_PARAM_MAX)
		return smtp_words(WORD_BAD_VALUE);
	return NULL;
}

static uint8_t notify_bit(struct span s)
{
	if (span_eq_nocase(s, SPAN("NEVER")))
		return SMTP_NOTIFY_NEVER;
	if (span_eq_nocase(s, SPAN("SUCCESS")))
		return SMTP_NOTIFY_SUCCESS;
	if (span_eq_nocase(s, SPAN("FAILURE")))
		return SMTP_NOTIFY_FAILURE;
	return span_eq_nocase(s, SPAN("DELAY")) ? SMTP_NOTIFY_DELAY : 0;
}

/* NEVER alone, or a list of the others, each once. */
static const char *param_notify(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	(void)offered;
	cmd->has_notify = true;
	for (;;) {
		const uint8_t *comma = memchr(value.p, ',', value.n);
		size_t n = comma ? (size_t)(comma - value.p) : value.n;
		uint8_t bit = notify_bit(span_of(value.p, n));

		if (bit == 0 || (cmd->notify & bit))
			return smtp_words(WORD_BAD_VALUE);
		cmd->notify |= bit;
		if (!comma)
			break;
		value = span_from(value, n + 1);
	}
	if ((cmd->notify & SMTP_NOTIFY_NEVER) && cmd->notify != SMTP_NOTIFY_NEVER)
		return smtp_words(WORD_BAD_VALUE);
	return NULL;
}

/* RFC 6533 3: "utf-8;" may be followed by UTF-8 itself where SMTPUTF8 is offered. */
static bool utf8_address_valid(struct span s)
{
	for (size_t i = 0; i < s.n;) {
		size_t at = i;
		int32_t code = smtp_utf8_next(s, &i);

		if (code < 0x21 || (code > 0x7e && code < 0xa0) || code == 0x2028 || code == 0x2029)
			return false;
		if (code == '+' && decode_hex(span_from(s, at)) < 0)
			return false;
	}
	return s.n > 0;
}

static bool has_eight_bit(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= 0x80)
			return true;
	return false;
}

static const char *param_orcpt(struct smtp_command *cmd, struct span value, uint32_t offered)
{
	struct span address = smtp_orcpt_address(value);
	size_t type = address.p ? value.n - address.n - 1 : 0, decoded;

	cmd->orcpt = value;
	if (type == 0 || !orcpt_fits(cmd, false))
		return smtp_words(WORD_BAD_VALUE);
	for (size_t i = 0; i < type;
	     i++) /* an atom (RFC 5322 3.2.3), and one that xtext can hold */
		if (value.p[i] < 0x21 || value.p[i] > 0x7e ||
		    strchr("()<>[]:;@\\,.\"+=", value.p[i]))
			return smtp_words(WORD_BAD_VALUE);
	if (!has_eight_bit(address))
		return xtext_valid(address, &decoded) ? NULL : smtp_words(WORD_BAD_VALUE);
	if (!(offered & SMTP_EXT_SMTPUTF8) || !span_starts_nocase(value, SPAN("utf-8;")) ||
	    !utf8_address_valid(address))
		return smtp_words(WORD_BAD_VALUE);
	cmd->ext |= SMTP_EXT_SMTPUTF8;
	return NULL;
}

static const struct param params[] = {
	{ "SIZE", SMTP_VERB_MAIL, SMTP_EXT_SIZE, true, param_size },
	{ "BODY", SMTP_VERB_MAIL, SMTP_EXT_8BITMIME | SMTP_EXT_BINARYMIME, true, param_body },
	{ "SMTPUTF8", SMTP_VERB_MAIL, SMTP_EXT_SMTPUTF8, false, param_smtputf8 },
	{ "RET", SMTP_VERB_MAIL, SMTP_EXT_DSN, true, param_ret },
	{ "ENVID", SMTP_VERB_MAIL, SMTP_EXT_DSN, true, param_envid },
	{ "AUTH", SMTP_VERB_MAIL, SMTP_EXT_AUTH, true, param_auth },
	{ "NOTIFY", SMTP_VERB_RCPT, SMTP_EXT_DSN, true, param_notify },
	{ "ORCPT", SMTP_VERB_RCPT, SMTP_EXT_DSN, true, param_orcpt },
};

/* Cuts WORD into an esmtp-keyword and its value (p == NULL: no "="). False: it is no parameter. */
static bool split(struct span word, struct span *keyword, struct span *value)
{
	size_t n = 0;

	while (n < word.n && word.p[n] != '=') {
		uint8_t c = ascii_lower(word.p[n]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && n > 0)))
			return false;
		n++;
	}
	*keyword = span_of(word.p, n);
	*value = n < word.n ? span_from(word, n + 1) : span_of(NULL, 0);
	return n > 0;
}

static const char *param_parse(struct smtp_command *cmd, struct span word, uint32_t offered,
			       uint32_t *seen)
{
	struct span keyword, value;

	if (!split(word, &keyword, &value))
		return smtp_path_reply(SMTP_PATH_BESIDE, cmd->verb == SMTP_VERB_MAIL);
	for (unsigned i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
		const struct param *p = &params[i];

		if (p->verb != cmd->verb || !(p->ext & offered) ||
		    !span_eq_nocase(keyword, span_str(p->keyword)))
			continue;
		if ((*seen & 1u << i) || p->valued != (value.p != NULL) || (p->valued && !value.n))
			return smtp_words(WORD_BAD_VALUE);
		*seen |= 1u << i;
		/* A parameter of one extension alone needs that one; BODY says itself which. */
		if ((p->ext & (p->ext - 1)) == 0)
			cmd->ext |= p->ext;
		return p->parse(cmd, value, offered);
	}
	return smtp_words(WORD_BAD_PARAM);
}

const char *smtp_params_parse(struct smtp_command *cmd, struct span rest, uint32_t offered)
{
	uint32_t seen = 0;

	smtp_word(&rest); /* nothing: only the blanks before the first */
	while (rest.n > 0) {
		const char *fault = param_parse(cmd, smtp_word(&rest), offered, &seen);

		if (fault)
			return fault;
	}
	return NULL;
}
