/* SPDX-License-Identifier: ISC */
/*
 * log_parse: see log_parse.h. libxml2 tells a parser that has failed by disableSAX; what it has
 * handed out until then stands.
 */
#include "ctl/log_parse.h"

#include <limits.h>
#include <string.h>

#include "base/diag.h"

#define ROOT	  "caronte-log"
#define ROOT_OPEN "<" ROOT ">\n"
#define DEPTH_MAX 8
#define BLANKS	  " \t\r\n"

static void refuse(struct log_parse *p, const char *why)
{
	p->why = why;
	xmlStopParser(p->xml);
}

static void on_doctype(void *ctx, const xmlChar *name, const xmlChar *public_id,
		       const xmlChar *system_id)
{
	(void)name, (void)public_id, (void)system_id;
	refuse(((xmlParserCtxtPtr)ctx)->_private, "has a document type, which no log has");
}

static void on_text(void *ctx, const xmlChar *text, int n)
{
	for (int i = 0; i < n; i++) {
		if (strchr(BLANKS, text[i]) && text[i])
			continue;
		refuse(((xmlParserCtxtPtr)ctx)->_private, "has text between the records");
		return;
	}
}

/* As all names of a log are. */
static bool plain(const xmlChar *name)
{
	while (*name > 0x20 && *name < 0x7f)
		name++;
	return !*name;
}

static void hand_out(struct log_parse *p, const xmlChar *name, int n, const xmlChar **attrs)
{
	struct log_record *r = &p->record;

	r->element = span_str((const char *)name);
	r->n = 0;
	/* localname, prefix, URI, value, its end */
	for (int i = 0; i < n && r->n < LOG_ATTRS_MAX; i++, attrs += 5)
		if (!attrs[1] && plain(attrs[0]))
			r->attr[r->n++] =
				(struct log_attr){ span_str((const char *)attrs[0]),
						   span_of(attrs[3],
							   (size_t)(attrs[4] - attrs[3])) };
	if (!plain(name) || !log_record_get(r, "time").p) {
		refuse(p, "has an element that is no record");
		return;
	}
	p->records++;
	p->sink->record(p->sink->ctx, r);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
		     int namespaces, const xmlChar **declared, int n, int defaulted,
		     const xmlChar **attrs)
{
	struct log_parse *p = ((xmlParserCtxtPtr)ctx)->_private;

	(void)prefix, (void)uri, (void)namespaces, (void)declared, (void)defaulted;
	p->alien = p->depth == 0 && strcmp((const char *)name, ROOT) != 0;
	if (p->alien)
		refuse(p, "is no log of Caronte");
	else if (p->depth >= DEPTH_MAX)
		refuse(p, "elements are too deep in one another");
	else if (p->depth++ == 1)
		hand_out(p, name, n, attrs);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	struct log_parse *p = ((xmlParserCtxtPtr)ctx)->_private;

	(void)name, (void)prefix, (void)uri;
	CHECK(p->depth > 0);
	p->depth--;
}

/* A new parser, at the start of a document. */
static bool renew(struct log_parse *p)
{
	if (p->xml)
		xmlFreeParserCtxt(p->xml);
	p->xml = xmlCreatePushParserCtxt(&p->handlers, NULL, NULL, 0, NULL);
	p->depth = 0;
	if (!p->xml)
		return false;
	p->xml->_private = p;
	/* Without NOENT an ampersand in a value would stay a reference. There are no others than
	 * the five of XML: document types are refused. */
	xmlCtxtUseOptions(p->xml, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
					  XML_PARSE_NOENT);
	return true;
}

static bool feed(struct log_parse *p, struct span piece)
{
	p->records = 0;
	p->why = NULL;
	while (piece.n && !p->xml->disableSAX) {
		int n = piece.n < INT_MAX / 2 ? (int)piece.n : INT_MAX / 2;

		xmlParseChunk(p->xml, (const char *)piece.p, n, 0);
		piece = span_from(piece, (size_t)n);
	}
	return !p->xml->disableSAX;
}

/* Anew, inside the root element, as if the damage had not been. */
static void recover(struct log_parse *p)
{
	CHECK(renew(p)); /* what it needs has just been freed */
	CHECK(feed(p, SPAN(ROOT_OPEN)));
	p->fresh = true;
}

bool log_parse_open(struct log_parse *p, const struct log_sink *sink)
{
	memset(p, 0, sizeof(*p));
	p->sink = sink;
	p->handlers.initialized = XML_SAX2_MAGIC;
	p->handlers.startElementNs = on_start;
	p->handlers.endElementNs = on_end;
	p->handlers.internalSubset = on_doctype;
	p->handlers.characters = p->handlers.ignorableWhitespace = p->handlers.cdataBlock = on_text;
	return log_parse_begin(p);
}

void log_parse_close(struct log_parse *p)
{
	if (p->xml)
		xmlFreeParserCtxt(p->xml);
	p->xml = NULL;
}

bool log_parse_begin(struct log_parse *p)
{
	p->line = 0;
	p->head = p->fresh = true;
	p->headless = p->alien = p->midline = p->skipping = false;
	return renew(p);
}

static const char *complaint(const struct log_parse *p)
{
	return p->why ? p->why : "is damaged";
}

/* The document begins with this piece: false when that is nothing but blanks. */
static bool take_head(struct log_parse *p, struct span *piece)
{
	struct span s = *piece;

	while (s.n && s.p[0] && strchr(BLANKS, s.p[0]))
		s = span_from(s, 1);
	*piece = s;
	if (!s.n)
		return false;
	if (span_starts_nocase(s, SPAN("\xef\xbb\xbf")))
		s = span_from(s, 3);
	p->headless =
		!span_starts_nocase(s, SPAN("<?xml")) && !span_starts_nocase(s, SPAN("<" ROOT));
	if (p->headless)
		recover(p);
	return true;
}

/* The piece could not be read. What was left open before it may be the reason. */
static bool feed_again(struct log_parse *p, struct span piece, bool was_fresh)
{
	bool whole = !p->midline, none = p->records == 0;

	recover(p);
	if (was_fresh || !whole || !none)
		return false;
	if (feed(p, piece))
		return true;
	recover(p);
	return false;
}

static void read_piece(struct log_parse *p, struct span piece)
{
	bool was_fresh;
	const char *why;

	if (p->head && !take_head(p, &piece))
		return;
	p->head = false;
	was_fresh = p->fresh;
	p->fresh = false;
	if (feed(p, piece))
		return;
	why = complaint(p);
	p->skipping = p->alien || !feed_again(p, piece, was_fresh);
	p->sink->damage(p->sink->ctx, p->line, why);
}

void log_parse_piece(struct log_parse *p, struct span piece, bool ends_line)
{
	if (!p->midline)
		p->line++;
	if (!p->skipping && !p->alien)
		read_piece(p, piece);
	p->midline = !ends_line;
	if (ends_line)
		p->skipping = false;
}

void log_parse_end(struct log_parse *p, bool cut_off)
{
	bool whole = true;

	p->line += !p->midline;
	p->why = NULL;
	if (p->alien || (p->head && cut_off)) /* an empty log is one without records */
		return;
	if (cut_off && !p->headless) {
		p->why = "is cut off";
		whole = false;
	} else if (!p->skipping) {
		whole = feed(p, SPAN("</" ROOT ">")) && xmlParseChunk(p->xml, NULL, 0, 1) == 0 &&
			p->depth == 0;
	}
	if (!whole)
		p->sink->damage(p->sink->ctx, p->line, complaint(p));
}
