/* SPDX-License-Identifier: ISC */
/*
 * logcheck: what the tests of the log share: a log file is parsed by libxml2 and validated against
 * the schema, its records are looked at; temporary directories. Run from the top of the tree.
 */
#ifndef TESTS_LOGCHECK_H
#define TESTS_LOGCHECK_H

#include <ftw.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libxml/parser.h>
#include <libxml/relaxng.h>
#include <libxml/tree.h>

#define LOG_SCHEMA "src/xmllog/caronte-log.rng"

/* Prints what libxml2 says, behind the name in ARG. */
static inline void log_complain(void *arg, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", (const char *)arg);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

static inline void log_say_nothing(void *arg, const char *fmt, ...)
{
	(void)arg, (void)fmt;
}

static inline xmlRelaxNGPtr log_schema(void)
{
	static xmlRelaxNGPtr schema;

	if (!schema) {
		xmlRelaxNGParserCtxtPtr p = xmlRelaxNGNewParserCtxt(LOG_SCHEMA);

		schema = xmlRelaxNGParse(p);
		xmlRelaxNGFreeParserCtxt(p);
	}
	return schema;
}

static inline int log_validates(xmlDocPtr doc, const char *name, int quiet)
{
	xmlRelaxNGPtr schema = log_schema();
	xmlRelaxNGValidCtxtPtr v;
	int good;

	if (!schema)
		return 0;
	v = xmlRelaxNGNewValidCtxt(schema);
	if (!quiet)
		xmlRelaxNGSetValidErrors(v, log_complain, log_complain, (void *)(uintptr_t)name);
	else
		xmlRelaxNGSetValidErrors(v, log_say_nothing, log_say_nothing, NULL);
	good = xmlRelaxNGValidateDoc(v, doc) == 0;
	xmlRelaxNGFreeValidCtxt(v);
	return good;
}

/* The document, or NULL when it is not well-formed or not by the schema. */
static inline xmlDocPtr log_load(const char *path)
{
	xmlDocPtr doc = xmlReadFile(path, NULL, XML_PARSE_NONET | XML_PARSE_NOWARNING);

	if (doc && !log_validates(doc, path, 0)) {
		xmlFreeDoc(doc);
		doc = NULL;
	}
	return doc;
}

static inline xmlNodePtr log_first(xmlDocPtr doc)
{
	return xmlFirstElementChild(xmlDocGetRootElement(doc));
}

/* Number of records, or -1 for a file that is no good log. */
static inline long log_count(const char *path)
{
	xmlDocPtr doc = log_load(path);
	long n;

	if (!doc)
		return -1;
	n = (long)xmlChildElementCount(xmlDocGetRootElement(doc));
	xmlFreeDoc(doc);
	return n;
}

/* Whether the attribute has that value. */
static inline int log_has(xmlNodePtr n, const char *attr, const char *value)
{
	xmlChar *v = xmlGetNoNsProp(n, (const xmlChar *)attr);
	int same = v && strcmp((const char *)v, value) == 0;

	xmlFree(v);
	return same;
}

static inline unsigned long long log_num(xmlNodePtr n, const char *attr)
{
	xmlChar *v = xmlGetNoNsProp(n, (const xmlChar *)attr);
	unsigned long long u = v ? strtoull((const char *)v, NULL, 10) : 0;

	xmlFree(v);
	return u;
}

static inline int log_is(xmlNodePtr n, const char *element)
{
	return strcmp((const char *)n->name, element) == 0;
}

/* The oldest but WHICH of the rotated logs in DIR; NULL: there are fewer. */
static inline char *log_archived(const char *dir, size_t which)
{
	static char name[256];
	char pattern[128];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/caronte-*.xml", dir);
	if (glob(pattern, 0, NULL, &g) != 0)
		return NULL;
	snprintf(name, sizeof(name), "%s", which < g.gl_pathc ? g.gl_pathv[which] : "");
	globfree(&g);
	return name[0] ? name : NULL;
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static inline void remove_tree(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
