/* SPDX-License-Identifier: ISC */
/*
 * The reader of the configuration: every kind of fault with its exact text, every type at its
 * limits, the arguments, the order of faults, and what Kconfig's own tools write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/span.h"
#include "config/config.h"
#include "config/inner.h"
#include "config/load.h"

static char dir[] = "/tmp/caronte-test-XXXXXX";
static char path[sizeof(dir) + 32];

static void write_file(const void *text, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static struct config *load(const char *text)
{
	write_file(text, strlen(text));
	return config_load(path, NULL, 0);
}

/* All faults, as config_print_faults() writes them, PATH replaced by F; to be freed. */
static char *faults_of(const struct config *c)
{
	char *text = NULL, *at;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	assert_non_null(f);
	config_print_faults(c, f);
	assert_int_equal(fclose(f), 0);
	while ((at = strstr(text, path))) {
		*at = 'F';
		memmove(at + 1, at + strlen(path), strlen(at + strlen(path)) + 1);
	}
	return text;
}

static void expect_faults(struct config *c, const char *expected)
{
	char *text = faults_of(c);

	assert_string_equal(text, expected);
	assert_int_equal(c->fault_count == 0, *expected == '\0');
	free(text);
	config_free(c);
}

static void expect(const char *file, const char *faults)
{
	expect_faults(load(file), faults);
}

static void same_settings(const struct settings *a, const struct settings *b)
{
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		const char *x = (const char *)a + setting_rows[s].offset;
		const char *y = (const char *)b + setting_rows[s].offset;
		const char *text_x, *text_y;

		if (setting_rows[s].type == SETTING_TYPE_STRING) {
			memcpy(&text_x, x, sizeof(text_x));
			memcpy(&text_y, y, sizeof(text_y));
			assert_string_equal(text_x, text_y);
		} else {
			size_t n = setting_rows[s].type == SETTING_TYPE_BOOL ? sizeof(bool)
									     : sizeof(int);

			assert_memory_equal(x, y, n);
		}
	}
}

/* The figures of caronte.conf(5), written down a second time on purpose. */
static void test_defaults(void **state)
{
	struct config *c = config_load(NULL, NULL, 0);
	const struct settings *s = &c->set;

	(void)state;
	assert_int_equal(c->fault_count, 0);
	assert_null(c->path);
	assert_string_equal(s->listen_address, "");
	assert_int_equal(s->listen_port, 25);
	assert_string_equal(s->user, "caronte");
	assert_int_equal(s->log_level, 2);
	assert_string_equal(s->log_file, "/var/log/caronte/caronte.xml");
	assert_int_equal(s->log_rotate_mib, 64);
	assert_int_equal(s->log_rotate_hours, 24);
	assert_string_equal(s->log_archive_dir, "/var/log/caronte/archive");
	assert_string_equal(s->debug_dir, "/var/lib/caronte/debug");
	assert_int_equal(s->cooperation, COOPERATION_SINGLE);
	assert_string_equal(s->destinations, "127.0.0.1:225");
	assert_int_equal(s->balance, BALANCE_LEAST_SESSIONS);
	assert_true(s->relay_guard);
	assert_string_equal(s->relay_networks, "");
	assert_string_equal(s->recipients, "");
	assert_int_equal(s->bare_newline, BARE_NEWLINE_REJECT);
	assert_int_equal(s->body, BODY_AUTO);
	assert_int_equal(s->min_rate, 0);
	assert_int_equal(s->engine, ENGINE_AUTO);
	assert_int_equal(s->workers, 0);
	assert_int_equal(s->max_sessions, 10000);
	assert_int_equal(s->max_sessions_per_address, 20);
	assert_int_equal(s->max_errors, 20);
	assert_int_equal(s->max_idle_commands, 100);
	assert_int_equal(s->timeout_connect, 10);
	assert_int_equal(s->timeout_greeting, 300);
	assert_int_equal(s->timeout_command, 300);
	assert_int_equal(s->timeout_reply, 300);
	assert_int_equal(s->timeout_data, 180);
	assert_int_equal(s->timeout_data_done, 600);
	assert_int_equal(s->stop_grace, 30);
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		assert_null(c->where[i].file);
	config_free(c);
}

static void test_values_and_places(void **state)
{
	struct config *c = load("# a comment = with what looks like a value\n"
				"#\n"
				"\n"
				"  \t\n"
				"  # another comment\n"
				"#CONFIG_USER is not set\n"
				"CONFIG_LISTEN_PORT=2525\n"
				"CONFIG_USER=\"a \\\"b\\\" \\\\c #d\"\n"
				"# CONFIG_RELAY_GUARD is not set\n"
				"CONFIG_BODY_AUTO=n\n"
				"CONFIG_BODY_COPY=y\n"
				"# CONFIG_BODY_SPLICE is not set\n"
				"CONFIG_DESTINATIONS=\"\"\n"
				"CONFIG_RELAY_NETWORKS=\"10.0.0.0/8\t\xc3\xbc\" \t\n"
				"CONFIG_WORKERS=007 \n"
				"CONFIG_LOG_LEVEL=0");

	(void)state;
	assert_int_equal(c->fault_count, 0);
	assert_string_equal(c->path, path);
	assert_int_equal(c->set.listen_port, 2525);
	assert_string_equal(c->set.user, "a \"b\" \\c #d");
	assert_false(c->set.relay_guard);
	assert_int_equal(c->set.body, BODY_COPY);
	assert_string_equal(c->set.destinations, "");
	assert_string_equal(c->set.relay_networks, "10.0.0.0/8\t\xc3\xbc");
	assert_int_equal(c->set.workers, 7);
	assert_int_equal(c->set.log_level, 0);
	assert_string_equal(c->where[SETTING_LISTEN_PORT].file, path);
	assert_int_equal(c->where[SETTING_LISTEN_PORT].line, 7);
	assert_int_equal(c->where[SETTING_BODY_COPY].line, 11);
	assert_int_equal(c->where[SETTING_LOG_LEVEL].line, 16);
	assert_null(c->where[SETTING_LOG_FILE].file);
	config_free(c);
}

static void test_empty_file(void **state)
{
	struct config *c = load("");

	(void)state;
	assert_int_equal(c->fault_count, 0);
	same_settings(&c->set, &settings_default);
	config_free(c);
}

static void test_limits_of_every_int(void **state)
{
	(void)state;
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		const struct setting_row *row = &setting_rows[s];
		long long value[] = { row->min, row->max, (long long)row->min - 1,
				      (long long)row->max + 1 };

		for (int i = 0; row->type == SETTING_TYPE_INT && i < 4; i++) {
			char line[128], fault[256] = "";
			struct config *c;
			int got;

			snprintf(line, sizeof(line), "CONFIG_%s=%lld\n", row->name, value[i]);
			c = load(line);
			memcpy(&got, (char *)&c->set + row->offset, sizeof(got));
			if (i < 2)
				assert_int_equal(got, value[i]);
			else
				snprintf(fault, sizeof(fault),
					 "F:1: %s: %lld is out of range, allowed is an integer "
					 "from %d to %d\n",
					 row->name, value[i], row->min, row->max);
			expect_faults(c, fault);
		}
	}
}

static void test_int_faults(void **state)
{
	static const char *const text[] = { "abc",  "\"25\"", "0x19", "2 5", "+25", "-",
					    "25.0", "25#x",   "y",    "",    " 25", "25 # port" };
	static const char *const fault[] = {
		"abc is not an integer, allowed is an integer from 1 to 65535",
		"\"25\" stands in quotes, a number has none, allowed is an integer from 1 to 65535",
		"0x19 is not an integer, allowed is an integer from 1 to 65535",
		"text behind the value: 5, allowed is an integer from 1 to 65535 and nothing behind it",
		"+25 is not an integer, allowed is an integer from 1 to 65535",
		"- is not an integer, allowed is an integer from 1 to 65535",
		"25.0 is not an integer, allowed is an integer from 1 to 65535",
		"25#x is not an integer, allowed is an integer from 1 to 65535",
		"y is not an integer, allowed is an integer from 1 to 65535",
		"no value, allowed is an integer from 1 to 65535",
		"a blank behind =, allowed is CONFIG_LISTEN_PORT=VALUE",
		("text behind the value: # port, allowed is an integer from 1 to 65535 and nothing "
		 "behind it"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(text) / sizeof(*text); i++) {
		char line[128], expected[256];

		snprintf(line, sizeof(line), "CONFIG_LISTEN_PORT=%s\n", text[i]);
		snprintf(expected, sizeof(expected), "F:1: LISTEN_PORT: %s\n", fault[i]);
		expect(line, expected);
	}
	expect("CONFIG_LISTEN_PORT=99999999999999999999999999\n",
	       "F:1: LISTEN_PORT: 99999999999999999999999999 is out of range, allowed is an integer "
	       "from 1 to 65535\n");
	expect("CONFIG_LISTEN_PORT=-9223372036854775809\n",
	       "F:1: LISTEN_PORT: -9223372036854775809 is out of range, allowed is an integer from 1 "
	       "to 65535\n");
}

static void test_bool_faults(void **state)
{
	(void)state;
	expect("CONFIG_RELAY_GUARD=yes\n",
	       "F:1: RELAY_GUARD: yes is neither y nor n, allowed is y or n\n");
	expect("CONFIG_RELAY_GUARD=m\n",
	       "F:1: RELAY_GUARD: m is neither y nor n, allowed is y or n\n");
	expect("CONFIG_RELAY_GUARD=Y\n",
	       "F:1: RELAY_GUARD: Y is neither y nor n, allowed is y or n\n");
	expect("CONFIG_RELAY_GUARD=1\n",
	       "F:1: RELAY_GUARD: 1 is neither y nor n, allowed is y or n\n");
	expect("CONFIG_RELAY_GUARD=\n", "F:1: RELAY_GUARD: no value, allowed is y or n\n");
	expect("CONFIG_RELAY_GUARD=n y\n",
	       "F:1: RELAY_GUARD: text behind the value: y, allowed is y or n and nothing behind it\n");
	expect("# CONFIG_USER is not set\n",
	       "F:1: USER: \"is not set\" is for y and n only, allowed is a string in double quotes\n");
	expect("# CONFIG_LISTEN_PORT is not set\n",
	       "F:1: LISTEN_PORT: \"is not set\" is for y and n only, allowed is an integer from 1 to "
	       "65535\n");
	expect("# CONFIG_RELAY_GUARD is not set by us\n",
	       "F:1: RELAY_GUARD: text behind \"is not set\", allowed is nothing behind it\n");
}

static void test_string_faults(void **state)
{
	static const char unended[] =
		"F:1: USER: the string has no end, allowed is a string in double quotes\n";
	static const char behind[] =
		"F:1: USER: text behind the string, allowed is nothing behind the closing quote\n";
	static const char backslash[] =
		"F:1: USER: a backslash in the string, allowed behind it are \\ and \"\n";

	(void)state;
	expect("CONFIG_USER=nobody\n",
	       "F:1: USER: nobody has no double quotes, allowed is a string in double quotes\n");
	expect("CONFIG_USER='nobody'\n",
	       "F:1: USER: 'nobody' has single quotes, allowed is a string in double quotes\n");
	expect("CONFIG_USER=\xe2\x80\x9cx\xe2\x80\x9d\n",
	       "F:1: USER: \xe2\x80\x9cx\xe2\x80\x9d has typographic quotes, "
	       "allowed is a string in double quotes\n");
	expect("CONFIG_LOG_ROTATE_MIB=64M\n",
	       "F:1: LOG_ROTATE_MIB: 64M has a unit, a number has none, "
	       "allowed is an integer from 0 to 1048576\n");
	expect("\xff\xfe"
	       "C\nx\n",
	       "F:1: text in UTF-16 (saved on Windows?), allowed is plain text\n");
	expect("CONFIG_USER=\n", "F:1: USER: no value, allowed is a string in double quotes\n");
	expect("CONFIG_USER=\"nobody\n", unended);
	expect("CONFIG_USER=\"\n", unended);
	expect("CONFIG_USER=\"nobody\\\"\n", unended);
	expect("CONFIG_USER=\"nobody\\\\\\\"", unended);
	expect("CONFIG_USER=\"nobody\" # me\n", behind);
	expect("CONFIG_USER=\"nobody\"\"\n", behind);
	expect("CONFIG_USER=\"a\"b\"\n", behind);
	expect("CONFIG_USER=\"a\\nb\"\n", backslash);
	expect("CONFIG_USER=\"a\\", backslash);
	expect("CONFIG_USER=\"a\x1b[2Jb\"\n",
	       "F:1: USER: control character \\x1b in the string, allowed is none but the tab\n");
	expect("CONFIG_USER=\"a\rb\"\n",
	       "F:1: USER: control character \\x0d in the string, allowed is none but the tab\n");
	expect("CONFIG_USER=\"a\x7f\"\n",
	       "F:1: USER: control character \\x7f in the string, allowed is none but the tab\n");
}

static void test_names(void **state)
{
	(void)state;
	expect("CONFIG_LISTEN_PROT=25\n"
	       "# CONFIG_RELAYGUARD is not set\n"
	       "CONFIG_listen_port=25\n"
	       "CONFIG_BODY_SLICE=y\n"
	       "CONFIG_TIMEOUT_DATADONE=5\n"
	       "CONFIG_=5\n",
	       "F:1: LISTEN_PROT: unknown name, the nearest is LISTEN_PORT\n"
	       "F:2: RELAYGUARD: unknown name, the nearest is RELAY_GUARD\n"
	       "F:3: listen_port: unknown name, the nearest is LISTEN_PORT\n"
	       "F:4: BODY_SLICE: unknown name, the nearest is BODY_SPLICE\n"
	       "F:5: TIMEOUT_DATADONE: unknown name, the nearest is TIMEOUT_DATA_DONE\n"
	       "F:6: : unknown name\n");
	expect("CONFIG_BODY=\"copy\"\n"
	       "LISTEN_PORT=25\n"
	       "config_USER=25\n",
	       "F:1: BODY: a choice, not a setting, allowed is y for one of BODY_AUTO, BODY_SPLICE or "
	       "BODY_COPY\n"
	       "F:2: LISTEN_PORT: does not begin with CONFIG_, the nearest is CONFIG_LISTEN_PORT\n"
	       "F:3: config_USER: does not begin with CONFIG_, the nearest is CONFIG_USER\n");
	expect("CONFIG_0123456789012345678901234567890123456789012345678901234567890123456789=5\n",
	       "F:1: 012345678901234567890123456789012345678901234567890123456789...: unknown name\n");
	expect("CONFIG_A\x1b]0;B\x07=5\n", "F:1: A\\x1b]0;B\\x07: unknown name\n");
}

static void test_lines(void **state)
{
	static const char neither[] =
		"F:1: neither a setting nor a comment, allowed are CONFIG_NAME=VALUE, "
		"# CONFIG_NAME is not set, # and text, blank lines\n";
	static const char before[] = "F:1: a blank before the setting, allowed is none\n";

	(void)state;
	expect("CONFIG_USER\n", neither);
	expect("[caronte]\n", neither);
	expect("// comment\n", neither);
	expect(" CONFIG_LISTEN_PORT=25\n", before);
	expect("\tfoo\n", before);
	expect(" # CONFIG_RELAY_GUARD is not set\n", before);
	expect("CONFIG_LISTEN_PORT =25\n",
	       "F:1: LISTEN_PORT: a blank before =, allowed is CONFIG_NAME=VALUE\n");
	expect("export CONFIG_LISTEN_PORT=25\n",
	       "F:1: export: no shell reads this, allowed is CONFIG_NAME=VALUE alone\n");
	expect("set LISTEN_PORT=25\n",
	       "F:1: set: no shell reads this, allowed is CONFIG_NAME=VALUE alone\n");
	expect("CONFIG_LISTEN_PORT= \n",
	       "F:1: LISTEN_PORT: no value, allowed is an integer from 1 to 65535\n");
	expect("\xef\xbb\xbf"
	       "CONFIG_LISTEN_PORT=x\n",
	       "F:1: a byte order mark, allowed is plain text without one\n"
	       "F:1: LISTEN_PORT: x is not an integer, allowed is an integer from 1 to 65535\n");
	write_file("# x\nCONFIG_USER=\"a\0b\"\nCONFIG_WORKERS=x\n",
		   sizeof("# x\nCONFIG_USER=\"a\0b\"\nCONFIG_WORKERS=x\n") - 1);
	expect_faults(config_load(path, NULL, 0),
		      "F:2: a NUL in the line, allowed is text\n"
		      "F:3: WORKERS: x is not an integer, allowed is an integer from 0 to 256\n");
}

static void test_windows_line_ends(void **state)
{
	struct config *c = load("# c\n"
				"CONFIG_LISTEN_PORT=26\r\n"
				"\r\n"
				"CONFIG_USER=\"me\"\r\n"
				"CONFIG_WORKERS=y\r\n");

	(void)state;
	assert_int_equal(c->set.listen_port, 26);
	assert_string_equal(c->set.user, "me");
	expect_faults(c,
		      "F:2: the lines end in CR LF (saved on Windows?), allowed is LF alone; said "
		      "once for all lines\n"
		      "F:5: WORKERS: y is not an integer, allowed is an integer from 0 to 256\n");
}

static void test_long_lines_and_files(void **state)
{
	static const char begin[] = "CONFIG_RELAY_NETWORKS=\"", end[] = "\"\nCONFIG_WORKERS=x\n";
	static char text[CONFIG_FILE_MAX + 1];
	struct config *c;

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, begin, strlen(begin));
	memcpy(text + CONFIG_LINE_MAX - 1, end, strlen(end));
	write_file(text, CONFIG_LINE_MAX - 1 + strlen(end));
	c = config_load(path, NULL, 0);
	assert_int_equal(strlen(c->set.relay_networks), CONFIG_LINE_MAX - strlen(begin) - 1);
	expect_faults(c,
		      "F:2: WORKERS: x is not an integer, allowed is an integer from 0 to 256\n");

	text[CONFIG_LINE_MAX - 1] = 'a';
	memcpy(text + CONFIG_LINE_MAX, end, strlen(end));
	write_file(text, CONFIG_LINE_MAX + strlen(end));
	expect_faults(config_load(path, NULL, 0),
		      "F:1: a line of 16385 octets, allowed are 16384; longer lists go into files\n"
		      "F:2: WORKERS: x is not an integer, allowed is an integer from 0 to 256\n");

	memset(text, '\n', sizeof(text));
	write_file(text, CONFIG_FILE_MAX);
	expect_faults(config_load(path, NULL, 0), "");
	write_file(text, CONFIG_FILE_MAX + 1);
	expect_faults(config_load(path, NULL, 0),
		      "F: larger than 1048576 octets, allowed is a configuration file\n");
}

static void test_files_that_cannot_be_read(void **state)
{
	struct config *c = config_load("/nonexistent/caronte.conf", NULL, 0);

	(void)state;
	same_settings(&c->set, &settings_default);
	expect_faults(c, "/nonexistent/caronte.conf: cannot be read: No such file or directory\n");
	expect_faults(config_load("/", NULL, 0), "/: cannot be read: Is a directory\n");
}

static void test_given_twice(void **state)
{
	struct config *c = load("CONFIG_LISTEN_PORT=26\n"
				"CONFIG_USER=\"x\n"
				"CONFIG_LISTEN_PORT=27\n"
				"CONFIG_RELAY_GUARD=y\n"
				"# CONFIG_RELAY_GUARD is not set\n"
				"CONFIG_USER=\"x\"\n"
				"CONFIG_LISTEN_PORT=0\n");

	(void)state;
	assert_int_equal(c->set.listen_port, 26);
	assert_true(c->set.relay_guard);
	expect_faults(c,
		      "F:2: USER: the string has no end, allowed is a string in double quotes\n"
		      "F:3: LISTEN_PORT: given twice, the first time on line 1, allowed is once\n"
		      "F:5: RELAY_GUARD: given twice, the first time on line 4, allowed is once\n"
		      "F:6: USER: given twice, the first time on line 2, allowed is once\n"
		      "F:7: LISTEN_PORT: given twice, the first time on line 1, allowed is once\n");
}

static void test_choices(void **state)
{
	struct config *c = load("CONFIG_BODY_COPY=y\n");

	(void)state;
	assert_int_equal(c->set.body, BODY_COPY);
	expect_faults(c, "");
	expect("CONFIG_BODY_COPY=y\nCONFIG_ENGINE_EPOLL=y\nCONFIG_BODY_AUTO=y\n",
	       "F:3: BODY_AUTO: y, but BODY_COPY is y already on line 1, allowed is one of BODY_AUTO, "
	       "BODY_SPLICE or BODY_COPY\n");
	expect("CONFIG_BODY_COPY=yes\n# CONFIG_BODY_AUTO is not set\n",
	       "F:1: BODY_COPY: yes is neither y nor n, allowed is y or n\n");
	expect("CONFIG_BODY_COPY=y x\n# CONFIG_BODY_AUTO is not set\n",
	       "F:1: BODY_COPY: text behind the value: x, allowed is y or n and nothing behind it\n");
	/* The default switched off and nothing put for it: what was meant cannot be known. */
	expect("CONFIG_WORKERS=1\n# CONFIG_BARE_NEWLINE_REJECT is not set\n",
	       "F:2: BARE_NEWLINE_REJECT: n, and no other member of its choice is y, allowed is one of "
	       "BARE_NEWLINE_REJECT or BARE_NEWLINE_NORMALIZE\n");
	c = load("# CONFIG_BARE_NEWLINE_NORMALIZE is not set\n");
	assert_int_equal(c->set.bare_newline, BARE_NEWLINE_REJECT);
	expect_faults(c, "");
}

static void test_arguments(void **state)
{
	static const char *const good[] = { "LISTEN_PORT=2525", "USER=a \"b\" \\c", "RELAY_GUARD=n",
					    "BODY_SPLICE=y",	"BODY_COPY=y",	    "WORKERS=1",
					    "WORKERS=2",	"DESTINATIONS=" };
	static const char *const bad[] = { "LISTEN_PORT=0",  "CONFIG_USER=x", "NOPE=1",
					   "RELAY_GUARD=on", "LOG_LEVEL",     "BODY=copy",
					   "BODY_AUTO=n",    "USER=a\nb",     "",
					   "CONFIG_" };
	struct config *c;

	(void)state;
	write_file("CONFIG_BODY_AUTO=y\nCONFIG_LISTEN_PORT=1\n", 40);
	c = config_load(path, good, sizeof(good) / sizeof(*good));
	assert_int_equal(c->set.listen_port, 2525);
	assert_string_equal(c->set.user, "a \"b\" \\c");
	assert_false(c->set.relay_guard);
	assert_int_equal(c->set.body, BODY_COPY);
	assert_int_equal(c->set.workers, 2);
	assert_string_equal(c->set.destinations, "");
	assert_string_equal(c->where[SETTING_LISTEN_PORT].file, "-o");
	assert_int_equal(c->where[SETTING_LISTEN_PORT].line, 0);
	assert_string_equal(c->where[SETTING_BODY_COPY].file, "-o");
	expect_faults(c, "");

	write_file("CONFIG_BODY_AUTO=y\nCONFIG_LISTEN_PORT=x\n", 40);
	c = config_load(path, bad, sizeof(bad) / sizeof(*bad));
	assert_int_equal(c->set.listen_port, 25);
	expect_faults(
		c,
		"F:2: LISTEN_PORT: x is not an integer, allowed is an integer from 1 to 65535\n"
		"-o: LISTEN_PORT: 0 is out of range, allowed is an integer from 1 to 65535\n"
		"-o: CONFIG_USER: begins with CONFIG_, allowed is the name without it, as USER\n"
		"-o: NOPE: unknown name\n"
		"-o: RELAY_GUARD: on is neither y nor n, allowed is y or n\n"
		"-o: LOG_LEVEL: no value, allowed is NAME=VALUE\n"
		"-o: BODY: a choice, not a setting, allowed is y for one of BODY_AUTO, BODY_SPLICE or "
		"BODY_COPY\n"
		"-o: USER: control character \\x0a in the string, allowed is none but the tab\n"
		"-o: : unknown name\n"
		"-o: CONFIG_: begins with CONFIG_, allowed is the name without it\n"
		"-o: BODY_AUTO: n, and no other member of its choice is y, allowed is one of BODY_AUTO, "
		"BODY_SPLICE or BODY_COPY\n");
}

/* Faults that other folders add stand where their settings stand. */
static void test_added_faults(void **state)
{
	static const char *const argument[] = { "USER=root" };
	struct config *c;

	(void)state;
	write_file("CONFIG_LISTEN_PORT=0\nCONFIG_DESTINATIONS=\"x\"\nCONFIG_WORKERS=x\n", 62);
	c = config_load(path, argument, 1);
	config_fault_in(c, SETTING_RECIPIENTS, "/etc/z", 1, "no address");
	config_fault_in(c, SETTING_RELAY_NETWORKS, "/etc/a", 12, "no \x1bnetwork");
	config_fault_in(c, SETTING_RELAY_NETWORKS, "/etc/a", 3, "no network");
	config_fault_in(c, SETTING_RELAY_NETWORKS, "/etc/a", 0, "cannot be read");
	config_fault(c, SETTING_USER, "%s has uid %d", "root", 0);
	config_fault(c, SETTING_DESTINATIONS, "x is no HOST:PORT");
	config_fault(c, SETTING_LOG_FILE, "cannot be written");
	config_fault(c, SETTING_DESTINATIONS, "second of its line");
	expect_faults(c,
		      "F: LOG_FILE: cannot be written\n"
		      "F:1: LISTEN_PORT: 0 is out of range, allowed is an integer from 1 to 65535\n"
		      "F:2: DESTINATIONS: x is no HOST:PORT\n"
		      "F:2: DESTINATIONS: second of its line\n"
		      "F:3: WORKERS: x is not an integer, allowed is an integer from 0 to 256\n"
		      "-o: USER: root has uid 0\n"
		      "/etc/a: RELAY_NETWORKS: cannot be read\n"
		      "/etc/a:3: RELAY_NETWORKS: no network\n"
		      "/etc/a:12: RELAY_NETWORKS: no \\x1bnetwork\n"
		      "/etc/z:1: RECIPIENTS: no address\n");
	c = config_load(NULL, NULL, 0);
	config_fault(c, SETTING_BODY_SPLICE, "no splice here");
	expect_faults(c, "default: BODY_SPLICE: no splice here\n");
}

/* Faulty at each line: the order holds, and the cost of each fault is small. */
static void test_many_faults(void **state)
{
	enum { LINES = 20000 };
	char *text = malloc(LINES * 16), *to = text, line[32];
	struct config *c;

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < LINES; i++)
		to += sprintf(to, "CONFIG_X%d=\n", i);
	c = load(text);
	free(text);
	assert_int_equal(c->fault_count, LINES);
	for (unsigned i = 0; i < LINES; i++) {
		snprintf(line, sizeof(line), ":%u: X%u: unknown", i + 1, i);
		assert_non_null(strstr(c->faults[i].text, line));
	}
	config_free(c);
}

/* No octets whatever may do harm: each cut of a faulty file, and each octet of it changed. */
static void test_hostile_octets(void **state)
{
	static const char sample[] = "CONFIG_USER=\"a\\\"b\"\n# CONFIG_BODY_AUTO is not set\r\n"
				     "CONFIG_BODY_COPY=y\n CONFIG_X\0=\nCONFIG_LISTEN_PORT=12 \n";
	char text[sizeof(sample)];

	(void)state;
	for (size_t n = 0; n < sizeof(sample); n++) {
		write_file(sample, n);
		config_free(config_load(path, NULL, 0));
	}
	for (size_t i = 0; i < sizeof(sample) - 1; i++) {
		static const char octets[] = "\0\n\r\t \"\\#=C9\x80\xff";

		for (size_t j = 0; j < sizeof(octets) - 1; j++) {
			struct config *c;

			memcpy(text, sample, sizeof(text));
			text[i] = octets[j];
			write_file(text, sizeof(text) - 1);
			c = config_load(path, NULL, 0);
			assert_in_range(c->set.listen_port, 1, 65535);
			assert_in_range(c->set.body, BODY_AUTO, BODY_COPY);
			for (size_t k = 0; k < c->fault_count; k++)
				for (char *p = c->faults[k].text; *p; p++)
					assert_true((unsigned char)*p >= ' ' && *p != 0x7f);
			config_free(c);
		}
	}
}

/* Runs one of kconfiglib's own tools over the tree's Kconfig, FILE as its configuration. */
static void kconfig(const char *tool, const char *file, const char *more)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "KCONFIG_CONFIG=%s /usr/bin/python3 -m %s %s >/dev/null 2>&1", file, tool, more);
	assert_int_equal(system(command), 0);
}

static void need_kconfig(void)
{
	if (access("Kconfig", R_OK) == 0 &&
	    system("/usr/bin/python3 -c 'import kconfiglib' 2>/dev/null") == 0)
		return;
	print_message("skipped: needs python3-kconfiglib and the top of the tree as directory\n");
	skip();
}

static void test_kconfig_defaults(void **state)
{
	struct config *c;

	(void)state;
	need_kconfig();
	unlink(path);
	kconfig("alldefconfig", path, "");
	c = config_load(path, NULL, 0);
	same_settings(&c->set, &settings_default);
	for (enum setting s = 0; s < SETTING_COUNT; s++)
		assert_non_null(c->where[s].file);
	expect_faults(c, "");
}

/* What Kconfig's tools make of a configuration means the same to the daemon, short and in full. */
static void test_kconfig_round_trip(void **state)
{
	char small[sizeof(path) + 8], more[sizeof(path) + 16];
	struct config *a, *b, *c;

	(void)state;
	need_kconfig();
	a = load("CONFIG_USER=\"a \\\"b\\\" \\\\c\"\nCONFIG_WORKERS=3\nCONFIG_RELAY_GUARD=n\n"
		 "CONFIG_BODY_COPY=y\nCONFIG_BALANCE_SOURCE=y\nCONFIG_RECIPIENTS=\"/r\"\n"
		 "CONFIG_LOG_LEVEL=2\n");
	snprintf(small, sizeof(small), "%s.small", path);
	snprintf(more, sizeof(more), "--out %s", small);
	kconfig("savedefconfig", path, more);
	kconfig("olddefconfig", path, "");
	b = config_load(small, NULL, 0);
	c = config_load(path, NULL, 0);
	unlink(small);
	assert_null(b->where[SETTING_LOG_LEVEL].file);
	assert_non_null(c->where[SETTING_LISTEN_PORT].file);
	assert_string_equal(b->set.user, "a \"b\" \\c");
	same_settings(&b->set, &a->set);
	same_settings(&c->set, &a->set);
	config_free(a);
	expect_faults(b, "");
	expect_faults(c, "");
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/caronte.conf", dir);
	return 0;
}

static int tear_down(void **state)
{
	char old[sizeof(path) + 8];

	(void)state;
	snprintf(old, sizeof(old), "%s.old", path);
	unlink(old);
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values_and_places),
		cmocka_unit_test(test_empty_file),
		cmocka_unit_test(test_limits_of_every_int),
		cmocka_unit_test(test_int_faults),
		cmocka_unit_test(test_bool_faults),
		cmocka_unit_test(test_string_faults),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_windows_line_ends),
		cmocka_unit_test(test_long_lines_and_files),
		cmocka_unit_test(test_files_that_cannot_be_read),
		cmocka_unit_test(test_given_twice),
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_added_faults),
		cmocka_unit_test(test_many_faults),
		cmocka_unit_test(test_hostile_octets),
		cmocka_unit_test(test_kconfig_defaults),
		cmocka_unit_test(test_kconfig_round_trip),
	};

	return cmocka_run_group_tests_name("config", tests, set_up, tear_down);
}
