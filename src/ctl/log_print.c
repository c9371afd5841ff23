/* SPDX-License-Identifier: ISC */
/* log_print: see log_print.h. Lines of a table are in log_table.c. */
#include "ctl/log_print.h"

#include <stdint.h>
#include <stdio.h>

#include "base/diag.h"
#include "ctl/log_table.h"
#include "xmllog/logfile.h"

/* ---- JSON (RFC 8259) ---- */

static void add_json_string(struct span v, struct log_text *out)
{
	size_t len;

	log_text_str(out, "\"");
	for (; log_text_plain(out, &v, "\"\\"), v.n; v = span_from(v, len)) {
		uint32_t u = log_text_character(v, &len);

		if (u == '"' || u == '\\') {
			log_text_str(out, u == '"' ? "\\\"" : "\\\\");
		} else if (u <= 0xffff) {
			log_text_hex(out, "\\u", 4, u);
		} else {
			log_text_hex(out, "\\u", 4, 0xd800 + ((u - 0x10000) >> 10));
			log_text_hex(out, "\\u", 4, 0xdc00 + (u & 0x3ff));
		}
	}
	log_text_str(out, "\"");
}

/* Values that the schema calls numbers, as long as they are such that any reader holds exactly. */
static bool is_number(struct span name, struct span v)
{
	static const char *const names[] = { "pid",	   "count",    "message",
					     "messages",   "refusals", "bytes",
					     "recipients", "seconds",  "errors" };
	bool numeric = false, dot = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		numeric |= span_eq(name, span_str(names[i]));
	if (!numeric || !v.n || v.n > 15 || (v.p[0] == '0' && v.n > 1 && v.p[1] != '.'))
		return false;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] == '.' && !dot && i && i + 1 < v.n)
			dot = true;
		else if (v.p[i] < '0' || v.p[i] > '9')
			return false;
	}
	return true;
}

static void print_json(const struct log_record *r, struct log_text *out)
{
	log_text_str(out, "{\"element\":");
	add_json_string(r->element, out);
	for (size_t i = 0; i < r->n; i++) {
		bool number = span_eq(r->attr[i].name, SPAN("message"));

		log_text_str(out, ",");
		/* As LOG_JSON_FILE has it (xmllog/json.h). */
		add_json_string(number ? SPAN("message_no") : r->attr[i].name, out);
		log_text_str(out, ":");
		if (is_number(r->attr[i].name, r->attr[i].value))
			log_text_add(out, r->attr[i].value.p, r->attr[i].value.n);
		else
			add_json_string(r->attr[i].value, out);
	}
	log_text_str(out, "}\n");
}

/* ---- XML, as xmllog/format.c writes it; the log's own escapes are in the value already ---- */

static void add_reference(uint32_t u, struct log_text *out)
{
	char s[24];
	int n = snprintf(s, sizeof(s), u < 0x20 ? "&#%u;" : "&#x%X;", u);

	CHECK(n > 0 && (size_t)n < sizeof(s));
	log_text_add(out, s, (size_t)n);
}

static void add_xml(struct span v, struct log_text *out)
{
	size_t len;

	for (; log_text_plain(out, &v, "&<>\""), v.n; v = span_from(v, len)) {
		uint32_t u = log_text_character(v, &len);

		if (u == '&')
			log_text_str(out, "&amp;");
		else if (u == '<')
			log_text_str(out, "&lt;");
		else if (u == '>')
			log_text_str(out, "&gt;");
		else if (u == '"')
			log_text_str(out, "&quot;");
		else
			add_reference(u, out);
	}
}

static void print_xml(const struct log_record *r, struct log_text *out)
{
	log_text_str(out, "<");
	log_text_add(out, r->element.p, r->element.n);
	for (size_t i = 0; i < r->n; i++) {
		log_text_str(out, " ");
		log_text_add(out, r->attr[i].name.p, r->attr[i].name.n);
		log_text_str(out, "=\"");
		add_xml(r->attr[i].value, out);
		log_text_str(out, "\"");
	}
	log_text_str(out, "/>\n");
}

/* ---- all ---- */

void log_print_head(const struct log_print *k, struct log_text *out)
{
	if (k->format == LOG_XML)
		log_text_str(out, LOGFILE_HEAD);
	if (k->format == LOG_TABLE)
		log_text_str(out,
			     k->local ? "TIME (LOCAL)             " : "TIME (UTC)               ");
	if (k->format == LOG_TABLE)
		log_text_str(out, "SESSION             RECORD       WHAT\n");
}

void log_print_foot(const struct log_print *k, struct log_text *out)
{
	if (k->format == LOG_XML)
		log_text_str(out, "</caronte-log>\n");
}

void log_print_record(const struct log_print *k, const struct log_record *r, struct log_text *out)
{
	switch (k->format) {
	case LOG_TABLE:
		log_print_table(k, r, out);
		break;
	case LOG_JSON:
		print_json(r, out);
		break;
	case LOG_XML:
		print_xml(r, out);
		break;
	}
}
