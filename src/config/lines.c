/* SPDX-License-Identifier: ISC */
/*
 * lines: the grammar of the configuration file, which is that of a Kconfig .config, and of the -o
 * arguments. Stricter than Kconfig's own tools, which pass over what they do not understand: here
 * each line is a setting, `# CONFIG_NAME is not set`, a comment or blank, or it is a fault. A file
 * is read whole, at most CONFIG_FILE_MAX octets of it; nothing is kept open.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "config/inner.h"

#define PREFIX "CONFIG_"
#define UNSET  " is not set"
#define BLANKS " \t"
#define BOM    "\xef\xbb\xbf"

static char *skip_blanks(char *text)
{
	return text + strspn(text, BLANKS);
}

/* Adds a fault of the line as a whole. */
static void line_fault(struct reader *r, const char *what)
{
	config_fault_at(r->config, r->at, NULL, "%s", what);
}

/* Says what NAME might have meant: the choice of that name, or the nearest setting. */
static void name_fault(struct reader *r, const char *name, const char *what, const char *prefix)
{
	bool prefixed = strncasecmp(name, PREFIX, strlen(PREFIX)) == 0;
	enum setting nearest = config_nearest(name + (prefixed ? strlen(PREFIX) : 0));
	char shown[CONFIG_SHOW_MAX];

	config_show(name, shown);
	for (int i = 0; i < choice_count; i++)
		if (strcmp(choice_rows[i].name, name) == 0) {
			config_fault_at(r->config, r->at, shown,
					"a choice, not a setting, allowed is y for one of %s",
					choice_rows[i].members);
			return;
		}
	if (nearest == SETTING_COUNT)
		config_fault_at(r->config, r->at, shown, "%s", what);
	else
		config_fault_at(r->config, r->at, shown, "%s, the nearest is %s%s", what, prefix,
				config_name(nearest));
}

/* What VALUE has in place of the double quotes that a string begins with. */
static const char *quotes_fault(const char *value)
{
	if (*value == '\'')
		return " has single quotes";
	if (strncmp(value, "\xe2\x80", 2) == 0)
		return " has typographic quotes";
	return *value ? " has no double quotes" : "no value";
}

/*
 * Takes quotes and escapes off in place: \" and \\ are all that Kconfig writes. False after a
 * fault.
 */
static bool unquote(struct reader *r, enum setting s, char **text)
{
	char *from = *text, *to = *text, allowed[CONFIG_ALLOWED_MAX], shown[CONFIG_SHOW_MAX];
	const char *what = NULL;

	if (*from != '"') {
		config_fault_at(r->config, r->at, config_name(s), "%s%s, allowed is %s",
				config_show(*text, shown), quotes_fault(*text),
				config_allowed(s, allowed));
		return false;
	}
	for (from++; *from && *from != '"'; from++) {
		if (*from == '\\' && *++from != '"' && *from != '\\') {
			what = "a backslash in the string, allowed behind it are \\ and \"";
			break;
		}
		*to++ = *from;
	}
	if (!what && *from == '\0')
		what = "the string has no end, allowed is a string in double quotes";
	else if (!what && from[1 + strspn(from + 1, BLANKS)] != '\0')
		what = "text behind the string, allowed is nothing behind the closing quote";
	if (what) {
		config_fault_at(r->config, r->at, config_name(s), "%s", what);
		return false;
	}
	*to = '\0';
	return true;
}

/* Cuts trailing blanks off a value without quotes; text behind a blank is a fault. */
static bool single_word(struct reader *r, enum setting s, char *text)
{
	char *end = text + strcspn(text, BLANKS), *rest = skip_blanks(end),
	     allowed[CONFIG_ALLOWED_MAX], shown[CONFIG_SHOW_MAX];

	*end = '\0';
	if (*rest == '\0')
		return true;
	config_fault_at(r->config, r->at, config_name(s),
			"text behind the value: %s, allowed is %s and nothing behind it",
			config_show(rest, shown), config_allowed(s, allowed));
	return false;
}

/* False after a fault: the first place where a setting stands is the one that counts. */
static bool given_once(struct reader *r, enum setting s)
{
	struct config *c = r->config;

	if (!c->where[s].file)
		return true;
	config_fault_at(c, r->at, config_name(s),
			"given twice, the first time on line %u, allowed is once",
			c->where[s].line);
	return false;
}

static void not_read(struct reader *r, enum setting s)
{
	r->config->where[s].file = r->at.file;
	r->config->where[s].line = r->at.line;
	if (setting_rows[s].choice >= 0)
		r->choice_at_fault[setting_rows[s].choice] = true;
}

/* NAME=VALUE, NAME without its prefix. */
static void read_setting(struct reader *r, const char *name, char *value)
{
	enum setting s = config_lookup(name);
	bool good;

	if (s == SETTING_COUNT) {
		name_fault(r, name, "unknown name", "");
		return;
	}
	if (!given_once(r, s))
		return;
	if (*value != '\0' && strchr(BLANKS, *value) && *skip_blanks(value) != '\0') {
		config_fault_at(r->config, r->at, name,
				"a blank behind =, allowed is " PREFIX "%s=VALUE", name);
		not_read(r, s);
		return;
	}
	good = setting_rows[s].type == SETTING_TYPE_STRING ? unquote(r, s, &value)
							   : single_word(r, s, value);
	if (good)
		config_set(r, s, value);
	else
		not_read(r, s);
}

/* `# CONFIG_NAME is not set`: a bool that is off. Any other line that begins with # is a comment.
 */
static bool is_unset(const char *line)
{
	size_t name = strlen("# " PREFIX);

	return strncmp(line, "# " PREFIX, name) == 0 &&
	       strncmp(line + name + strcspn(line + name, BLANKS), UNSET, strlen(UNSET)) == 0;
}

static void read_unset(struct reader *r, char *line)
{
	char *name = line + strlen("# " PREFIX), *end = name + strcspn(name, BLANKS);
	char *rest = skip_blanks(end + strlen(UNSET)), allowed[CONFIG_ALLOWED_MAX];
	enum setting s;

	*end = '\0';
	s = config_lookup(name);
	if (s == SETTING_COUNT)
		name_fault(r, name, "unknown name", "");
	else if (*rest != '\0')
		config_fault_at(r->config, r->at, name,
				"text behind \"is not set\", allowed is nothing behind it");
	else if (setting_rows[s].type != SETTING_TYPE_BOOL &&
		 setting_rows[s].type != SETTING_TYPE_MEMBER)
		config_fault_at(r->config, r->at, name,
				"\"is not set\" is for y and n only, allowed is %s",
				config_allowed(s, allowed));
	else if (given_once(r, s))
		config_set(r, s, "n");
}

/* Shells have these words in front of a setting; here they are a fault. */
static bool is_shell(const char *word)
{
	return strcmp(word, "export") == 0 || strcmp(word, "set") == 0;
}

static void read_assignment(struct reader *r, char *line)
{
	char *equals = strchr(line, '='), *blank = line + strcspn(line, BLANKS);
	bool prefixed = strncmp(line, PREFIX, strlen(PREFIX)) == 0;
	char *name = prefixed ? line + strlen(PREFIX) : line, shown[CONFIG_SHOW_MAX];

	if (!equals) {
		line_fault(r, "neither a setting nor a comment, allowed are " PREFIX
			      "NAME=VALUE, # " PREFIX "NAME is not set, # and text, blank lines");
		return;
	}
	*equals = '\0';
	if (blank < equals) {
		*blank = '\0';
		config_fault_at(r->config, r->at, config_show(name, shown),
				is_shell(line) ? "no shell reads this, allowed is " PREFIX
						 "NAME=VALUE alone"
					       : "a blank before =, allowed is " PREFIX
						 "NAME=VALUE");
	} else if (!prefixed) {
		name_fault(r, name, "does not begin with " PREFIX, PREFIX);
	} else {
		read_setting(r, name, equals + 1);
	}
}

static void read_line(struct reader *r, char *line, size_t n)
{
	char *text = skip_blanks(line);

	if (n > CONFIG_LINE_MAX)
		config_fault_at(r->config, r->at, NULL,
				"a line of %zu octets, allowed are %u; longer lists go into files",
				n, CONFIG_LINE_MAX);
	else if (memchr(line, '\0', n))
		line_fault(r, "a NUL in the line, allowed is text");
	else if (text != line && *text != '\0' && (*text != '#' || is_unset(text)))
		line_fault(r, "a blank before the setting, allowed is none");
	else if (*text == '#' && is_unset(text))
		read_unset(r, text);
	else if (*text != '#' && *text != '\0')
		read_assignment(r, text);
}

static void read_lines(struct reader *r, char *text, size_t n)
{
	bool crlf_said = false;

	if (n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0)) {
		r->at.line = 1;
		line_fault(r, "text in UTF-16 (saved on Windows?), allowed is plain text");
		return;
	}
	if (n >= strlen(BOM) && memcmp(text, BOM, strlen(BOM)) == 0) {
		r->at.line = 1;
		line_fault(r, "a byte order mark, allowed is plain text without one");
		text += strlen(BOM);
		n -= strlen(BOM);
	}
	for (r->at.line = 1; n > 0; r->at.line++) {
		char *end = memchr(text, '\n', n);
		size_t whole = end ? (size_t)(end - text) + 1 : n, length = whole - !!end;

		if (end && length > 0 && text[length - 1] == '\r') {
			length--;
			if (!crlf_said)
				line_fault(
					r,
					"the lines end in CR LF (saved on Windows?), allowed is LF "
					"alone; said once for all lines");
			crlf_said = true;
		}
		text[length] = '\0';
		read_line(r, text, length);
		text += whole;
		n -= whole;
	}
}

/* What FD gives, until CAP octets or a few more are there, into *OUT, to be freed. Number or
 * -errno. */
static ssize_t read_all(int fd, size_t cap, char **out)
{
	size_t n = 0, room = 16384;
	char *text = malloc(room + 1); /* one more for a NUL */
	ssize_t got;

	do {
		CHECK(text);
		got = read(fd, text + n, room - n);
		if (got > 0)
			n += (size_t)got;
		if (n == room) {
			char *more = realloc(text, 2 * room + 1);

			CHECK(more);
			room *= 2;
			text = more;
		}
	} while ((got > 0 && n < cap) || (got < 0 && errno == EINTR));
	CHECK(text);
	*out = text;
	return got < 0 ? -errno : (ssize_t)n;
}

void config_read_file(struct reader *r, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	ssize_t n = fd < 0 ? -errno : read_all(fd, CONFIG_FILE_MAX + 1, &text);

	r->at = (struct place){ path, 0 };
	if (n < 0 || !text)
		config_fault_at(r->config, r->at, NULL, "cannot be read: %s", strerror((int)-n));
	else if (n > CONFIG_FILE_MAX)
		config_fault_at(r->config, r->at, NULL,
				"larger than %u octets, allowed is a configuration file",
				CONFIG_FILE_MAX);
	else
		read_lines(r, text, (size_t)n);
	free(text);
	if (fd >= 0)
		close(fd);
}

void config_read_argument(struct reader *r, const char *argument)
{
	struct config *c = r->config;
	size_t length = strcspn(argument, "=");
	char *name = config_text(c, argument, length), shown[CONFIG_SHOW_MAX];
	enum setting s = config_lookup(name);

	if (strncmp(name, PREFIX, strlen(PREFIX)) == 0) {
		enum setting nearest = config_nearest(name + strlen(PREFIX));

		config_fault_at(c, r->at, config_show(name, shown),
				"begins with " PREFIX ", allowed is the name without it%s%s",
				nearest == SETTING_COUNT ? "" : ", as ",
				nearest == SETTING_COUNT ? "" : config_name(nearest));
	} else if (s == SETTING_COUNT) {
		name_fault(r, name, "unknown name", "");
	} else if (argument[length] == '\0') {
		config_fault_at(c, r->at, name, "no value, allowed is NAME=VALUE");
	} else {
		argument += length + 1;
		config_set(r, s, config_text(c, argument, strlen(argument)));
	}
}
