/* SPDX-License-Identifier: ISC */
/* What is said of values that are right for other mail servers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "check/hints.h"

struct row {
	const char *entry, *word; /* NULL: nothing is said */
};

static void check_rows(const struct row *rows, size_t n, const char *hint(const char *))
{
	for (size_t i = 0; i < n; i++) {
		const char *said = hint(rows[i].entry);

		if (!said != !rows[i].word || (said && !strstr(said, rows[i].word)))
			fail_msg("\"%s\": %s", rows[i].entry, said ? said : "nothing");
	}
}

static const char *network(const char *entry)
{
	return hints_network(entry, strlen(entry));
}

static void test_networks(void **state)
{
	static const struct row rows[] = {
		{ "10.0.0.0/8,192.0.2.0/24", "separated by blanks" },
		{ "10.0.0.0/8;", "separated by blanks" },
		{ "hash:/etc/postfix/networks", "no map type" },
		{ "cidr:/etc/postfix/networks", "no map type" },
		{ "C:\\caronte\\networks", "no map type" },
		{ "networks.txt/", "from / on" },
		{ "tables/networks", "from / on" },
		{ "./networks", "from / on" },
		{ "~/networks", "from / on" },
		{ "10.0.0.0/255.0.0.0", "no netmask" },
		{ "192.168.*", "no pattern" },
		{ "192.0.2.1-192.0.2.9", "no range" },
		{ "!10.0.0.1", "taken out" },
		{ "[2001:db8::]/32", "no brackets" },
		{ "http://10.0.0.1", "no URL" },
		{ "10.0.0.0/33", NULL },
		{ "10.0.0.1/8", NULL },
		{ "2001:db8::/129", NULL },
		{ "everybody", NULL },
		{ "", NULL },
	};
	char longest[300];

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), network);
	memset(longest, ',', sizeof(longest));
	assert_null(hints_network(longest, sizeof(longest)));
}

static void test_listen(void **state)
{
	static const struct row rows[] = {
		{ "127.0.0.1:25", "LISTEN_PORT" },
		{ "[::1]:25", "LISTEN_PORT" },
		{ "*:25", "LISTEN_PORT" },
		{ "localhost:25", "LISTEN_PORT" },
		{ "127.0.0.1,::1", "blanks" },
		{ "*", "the empty list" },
		{ "any", "the empty list" },
		{ "[::1]", "without brackets" },
		{ "10.0.0.0/8", "no network" },
		{ "/run/caronte.sock", "Unix sockets" },
		{ "unix:/run/socket", "Unix sockets" },
		{ "localhost", NULL },
		{ "eth0", NULL },
		{ "127.0.0.256", NULL },
		{ ":", NULL },
		{ "1:2:3:4:5", NULL },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), hints_listen);
}

static const char *missing_file(const char *path)
{
	static char text[512];

	hints_file(path, false, ENOENT, text, sizeof(text));
	return text;
}

static const char *missing_in_list(const char *path)
{
	static char text[512];

	hints_file(path, true, ENOENT, text, sizeof(text));
	return text;
}

static void test_files(void **state)
{
	static const struct row rows[] = {
		{ "/etc/recipients", "/etc/recipients: cannot be read: No such file or directory" },
		{ "recipients", "write it from / on" },
		{ "hash:/etc/recipients", "write a plain file, /etc/recipients" },
		{ "texthash:/etc/recipients", "no map type is known" },
		{ "c:/recipients", "from / on" },
		{ "@example.net", "a file is wanted here: write this into one" },
		{ "/a /b",
		  "/a /b: cannot be read: No such file or directory; one is allowed here" },
		{ "/a,/b", "one is allowed here, and no list" },
		{ "/a; /b", "one is allowed here, and no list" },
	};
	static const struct row listed[] = {
		{ "/a.crt,/b.crt", "No such file or directory; files are separated by blanks" },
		{ "/a.crt,", "files are separated by blanks" },
	};
	char text[512];

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), missing_file);
	check_rows(listed, sizeof(listed) / sizeof(listed[0]), missing_in_list);
	assert_string_equal(missing_file("/a,b"),
			    "/a,b: cannot be read: No such file or directory");
	hints_file("/etc/recipients", false, EACCES, text, sizeof(text));
	assert_non_null(strstr(text, "/etc/recipients: cannot be read by user "));
	hints_file("/a /b", false, EIO, text, sizeof(text));
	assert_string_equal(text, "/a /b: cannot be read: Input/output error");
}

static const char *denied(const char *why, size_t cap)
{
	static char text[200];

	snprintf(text, sizeof(text), "%s", why);
	hints_denied(text, cap);
	return text;
}

static void test_denied(void **state)
{
	const char *of = "/var/log/x.xml: Permission denied";
	size_t n = strlen(of);

	(void)state;
	assert_memory_equal(denied(of, 200), "/var/log/x.xml: Permission denied to user ", n + 9);
	assert_string_equal(denied(of, n + 5), "/var/log/x.xml: Permission denied to ");
	assert_string_equal(denied(of, n + 1), of);
	assert_string_equal(denied("/x: Is a directory", 200), "/x: Is a directory");
	assert_string_equal(denied("", 200), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_listen),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_denied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
