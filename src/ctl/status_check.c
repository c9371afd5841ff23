/* SPDX-License-Identifier: ISC */
/*
 * status_check: see status_check.h. What is wrong is written in the order of its weight. A member
 * that is missing, as in the document of another version, is no fault.
 */
#include "ctl/status_check.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define SESSIONS_PERCENT 90   /* of MAX_SESSIONS */
#define DISK_PERCENT	 5    /* free */
#define DROPPED_S	 3600 /* records that were lost are told of for so long */
#define DAY		 86400.0
#define TEXT_MAX	 4096

struct findings {
	enum status_check worst;
	char text[TEXT_MAX]; /* "a; b" */
	size_t n;
};

__attribute__((format(printf, 3, 4))) static void find(struct findings *f, enum status_check what,
						       const char *fmt, ...)
{
	va_list ap;
	int n;

	if (what > f->worst)
		f->worst = what;
	if (f->n > 0 && f->n + 3 < sizeof(f->text)) {
		memcpy(f->text + f->n, "; ", 3);
		f->n += 2;
	}
	va_start(ap, fmt);
	n = vsnprintf(f->text + f->n, sizeof(f->text) - f->n, fmt, ap);
	va_end(ap);
	f->n += n > 0 ? (size_t)n : 0;
	if (f->n >= sizeof(f->text))
		f->n = sizeof(f->text) - 1;
}

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
	const char *found = json_string_value(json_object_get(object, name));

	return found ? found : "?";
}

static bool is_drained(const json_t *destination)
{
	return json_is_true(json_object_get(destination, "drained"));
}

static bool is_up(const json_t *destination)
{
	return strcmp(text(destination, "state"), "up") == 0 && !is_drained(destination);
}

static void look_at_destination(struct findings *f, const json_t *d)
{
	const char *name = text(d, "name"), *state = text(d, "state");
	double refused = number(d, "refused_in_minute");

	if (is_drained(d))
		find(f, STATUS_WARNING, "%s is drained", name);
	if (strcmp(state, "busy") == 0)
		find(f, STATUS_WARNING, "%s is busy: %s", name, text(d, "said"));
	else if (strcmp(state, "up") != 0)
		find(f, STATUS_WARNING, "%s is %s", name, state);
	else if (json_is_true(json_object_get(d, "insecure")))
		find(f, STATUS_CRITICAL, "there is no TLS with %s: see the fault destination-tls",
		     name);
	else if (json_is_true(json_object_get(d, "unidentified")))
		find(f, STATUS_WARNING,
		     "the last client could not be told to %s: see the fault identity", name);
	else if (refused > 0)
		find(f, STATUS_WARNING, "%s has refused %.0f connection%s in the last minute", name,
		     refused, refused == 1 ? "" : "s");
}

/* The number of those that are up. */
static unsigned look_at_destinations(struct findings *f, const json_t *destinations)
{
	unsigned up = 0;
	size_t i;
	json_t *d;

	json_array_foreach((json_t *)(uintptr_t)destinations, i, d) up += is_up(d);
	if (up == 0)
		find(f, STATUS_CRITICAL, "no destination is up");
	json_array_foreach((json_t *)(uintptr_t)destinations, i, d) look_at_destination(f, d);
	return up;
}

static void look_at_log(struct findings *f, const json_t *now)
{
	const json_t *ago = json_object_get(now, "log_dropped_ago");
	const char *name;
	json_t *disk;

	if (ago && json_number_value(ago) <= DROPPED_S)
		find(f, STATUS_WARNING, "the log has lost records, %.0f in all",
		     number(now, "log_dropped"));
	json_object_foreach(json_object_get(now, "log_disk"), name, disk)
	{
		double size = number(disk, "size"), free = number(disk, "free");

		if (size > 0 && free * 100 < size * DISK_PERCENT)
			find(f, STATUS_WARNING, "the disk of the %s has %.1f %% free",
			     strcmp(name, "log") == 0 ? "log" : "log's archive", 100 * free / size);
	}
}

static void look_at_sessions(struct findings *f, const json_t *now)
{
	const json_t *sessions = json_object_get(now, "sessions");
	double open = number(sessions, "open"), max = number(sessions, "max");

	if (json_is_true(json_object_get(now, "stress")))
		find(f, STATUS_WARNING, "stress");
	if (open * 100 > max * SESSIONS_PERCENT)
		find(f, STATUS_WARNING, "%.0f of %.0f sessions are open", open, max);
}

/* The one that ends first, and how many others are as near. */
static void look_at_certificates(struct findings *f, const json_t *certificates)
{
	const json_t *first = NULL;
	unsigned near = 0;
	double least = 0;
	char others[48] = "";
	const char *name;
	size_t i;
	json_t *c;

	json_array_foreach((json_t *)(uintptr_t)certificates, i, c)
	{
		double left = number(c, "seconds_left");

		if (!json_is_true(json_object_get(c, "ends_soon")))
			continue;
		near++;
		if (!first || left < least) {
			first = c;
			least = left;
		}
	}
	if (near == 0)
		return;
	name = json_string_value(json_array_get(json_object_get(first, "names"), 0));
	if (near > 1)
		snprintf(others, sizeof(others), ", and %u more end%s soon", near - 1,
			 near == 2 ? "s" : "");
	if (least > 0)
		find(f, STATUS_WARNING, "the certificate of %s ends in %.1f days%s",
		     name ? name : "?", least / DAY, others);
	else
		find(f, STATUS_CRITICAL, "the certificate of %s has ended%s", name ? name : "?",
		     others);
}

static void look(struct findings *f, const json_t *now)
{
	const json_t *reload = json_object_get(now, "reload");
	unsigned up = look_at_destinations(f, json_object_get(now, "destinations"));

	if (json_is_false(json_object_get(now, "relay_guard")))
		find(f, STATUS_WARNING, "the relay guard is off: everybody may relay");
	if (json_is_false(json_object_get(reload, "success")))
		find(f, STATUS_WARNING, "the last reload or upgrade was refused, %s",
		     text(reload, "time"));
	if (json_is_true(json_object_get(now, "renewal_refused")))
		find(f, STATUS_WARNING,
		     "certificates that have changed are not taken: see the log");
	look_at_certificates(f, json_object_get(now, "certificates"));
	look_at_log(f, now);
	look_at_sessions(f, now);
	if (f->worst == STATUS_GOOD)
		find(f, STATUS_GOOD, "%u destination%s up, %.0f of %.0f sessions", up,
		     up == 1 ? "" : "s", number(json_object_get(now, "sessions"), "open"),
		     number(json_object_get(now, "sessions"), "max"));
}

enum status_check status_check_print(FILE *out, const json_t *now, const char *socket)
{
	static const char *const words[] = { "OK", "WARNING", "CRITICAL" };
	struct findings f = { 0 };

	if (json_is_object(now) && json_object_get(now, "version"))
		look(&f, now);
	else
		find(&f, STATUS_CRITICAL, "no daemon answers at %s", socket);
	fprintf(out, "%s: ", words[f.worst]);
	/* What a destination has said may have several lines. */
	for (const char *c = f.text; *c; c++)
		putc((unsigned char)*c < ' ' ? ' ' : *c, out);
	putc('\n', out);
	return f.worst;
}
