/* SPDX-License-Identifier: ISC */
/*
 * carontectl explain: the line of a table that it names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h wants the four above first */
#include <cmocka.h>

#include <unistd.h>

#include "ctl/explain_where.c"
#include "smtp/path.h"

static const char *const networks_text = "# LAN\n"
					 "10.0.0.0/8\r\n"
					 "  192.0.2.1\n"
					 "\n"
					 "::ffff:198.51.100.0/120\n"
					 "2001:db8::/32";
static const char *const recipients_text = "#@x.test\n"
					   "@x.test\n"
					   "Joe@Local.test\n"
					   "ann@local.test.\n"
					   "\"a b\"@local.test\n";

static void make_file(char *path, const char *text)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* What is printed, with the file's name cut off. */
static void take_output(FILE *out, char *text, size_t cap, const char *path)
{
	char raw[512] = "";
	const char *p = raw;

	rewind(out);
	raw[fread(raw, 1, sizeof(raw) - 1, out)] = '\0';
	fclose(out);
	if (strncmp(p, ENTRY, sizeof(ENTRY) - 1) == 0)
		p += sizeof(ENTRY) - 1;
	if (strncmp(p, path, strlen(path)) == 0)
		p += strlen(path);
	snprintf(text, cap, "%s", p);
}

static void test_network_lines(void **state)
{
	static const struct {
		const char *ip, *network, *said;
	} rows[] = {
		{ "10.1.2.3", "10.0.0.0/8", ":2: 10.0.0.0/8\n" },
		{ "192.0.2.1", "192.0.2.1/32", ":3:   192.0.2.1\n" },
		{ "198.51.100.9", "198.51.100.0/24", ":5: ::ffff:198.51.100.0/120\n" },
		{ "2001:db8::1", "2001:db8::/32", ":6: 2001:db8::/32\n" },
		{ "203.0.113.9", "203.0.113.9/32", "RELAY_NETWORKS: 203.0.113.9\n" },
		{ "10.1.2.3", "10.1.0.0/16", "" },
	};
	char path[] = "/tmp/caronte-test-XXXXXX", text[512];
	char none[] = "", entries[] = "203.0.113.0/24\n203.0.113.9\n";
	static struct tables_plan plan;

	(void)state;
	make_file(path, networks_text);
	plan = (struct tables_plan){ .entries = { entries, none }, .count = 1 };
	plan.file[0] = (struct tables_file){ SETTING_RELAY_NETWORKS, path, -1 };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		FILE *out = tmpfile();
		struct addr a;

		assert_int_equal(addr_parse_ip(&a, rows[i].ip), 0);
		explain_network(&plan, &a, rows[i].network, out);
		take_output(out, text, sizeof(text), path);
		assert_string_equal(text, rows[i].said);
	}
	unlink(path);
}

static void test_recipient_lines(void **state)
{
	static const struct {
		const char *path, *which, *said;
	} rows[] = {
		{ "<any@X.test>", "domain", ":2: @x.test\n" },
		{ "<joe@local.TEST>", "address", ":3: Joe@Local.test\n" },
		{ "<ann@local.test>", "address", ":4: ann@local.test.\n" },
		{ "<\"a b\"@local.test>", "address", ":5: \"a b\"@local.test\n" },
		{ "<postmaster@local.test>", "postmaster", ":3: Joe@Local.test\n" },
		{ "<postmaster>", "postmaster", "" },
		{ "<joe+news@local.test>", "extension", ":3: Joe@Local.test\n" },
		{ "<bob@local.test>", "address", "" },
	};
	char path[] = "/tmp/caronte-test-XXXXXX", text[512], none[] = "";
	static struct tables_plan plan;

	(void)state;
	make_file(path, recipients_text);
	plan = (struct tables_plan){ .entries = { none, none }, .count = 1 };
	plan.file[0] = (struct tables_file){ SETTING_RECIPIENTS, path, -1 };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		FILE *out = tmpfile();
		struct smtp_path p;
		size_t used;

		assert_int_equal(smtp_path_parse(&p, span_str(rows[i].path), false, &used),
				 SMTP_PATH_OK);
		struct policy_address a = { p.local,  p.domain, p.postmaster,
					    p.routed, p.quoted, false };

		explain_recipient(&plan, &a, "+", rows[i].which, out);
		take_output(out, text, sizeof(text), path);
		assert_string_equal(text, rows[i].said);
	}
	unlink(path);
	/* A file that is gone by now: nothing is said. */
	FILE *out = tmpfile();
	struct policy_address a = { SPAN("joe"), SPAN("local.test"), false, false, false, false };

	explain_recipient(&plan, &a, "+", "address", out);
	take_output(out, text, sizeof(text), path);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_network_lines),
		cmocka_unit_test(test_recipient_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
