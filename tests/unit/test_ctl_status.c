/* SPDX-License-Identifier: ISC */
/* carontectl status --check: what makes a monitor turn yellow and red, and the line that says why.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/status_check.c"

#define UP(name)	  "{\"name\":\"" name "\",\"state\":\"up\",\"drained\":false}"
#define SESSIONS(n)	  "\"sessions\":{\"open\":" #n ",\"max\":100}"
#define HEAD		  "{\"version\":\"1\","
#define ONE		  "\"destinations\":[" UP("a:25") "],"
#define GOOD		  HEAD ONE SESSIONS(10)
#define LASTS(name, left) "{\"names\":[\"" name "\",\"z.test\"],\"seconds_left\":" #left "}"
#define CERTIFICATE(name, left)                                                                    \
	"{\"names\":[\"" name "\",\"z.test\"],\"ends_soon\":true,\"seconds_left\":" #left "}"
#define CERTIFICATES(list) ",\"certificates\":[" list "]}"
#define DISK(f, what)	   "\"" what "\":{\"free\":" #f ",\"size\":1000}"

static void test_check(void **state)
{
	static const struct {
		const char *document;
		enum status_check status;
		const char *line;
	} rows[] = {
		{ GOOD "}", STATUS_GOOD, "OK: 1 destination up, 10 of 100 sessions\n" },
		{ GOOD ",\"relay_guard\":true,\"stress\":false,\"log_dropped\":0,\"reload\":"
		       "{\"time\":\"T\",\"success\":true},\"log_disk\":{" DISK(50, "log") "}}",
		  STATUS_GOOD, "OK: 1 destination up, 10 of 100 sessions\n" },
		{ HEAD "\"destinations\":[" UP("a:25") "," UP("b:25") "]," SESSIONS(90) "}",
		  STATUS_GOOD, "OK: 2 destinations up, 90 of 100 sessions\n" },
		{ HEAD ONE SESSIONS(91) "}", STATUS_WARNING,
		  "WARNING: 91 of 100 sessions are open\n" },
		{ HEAD ONE SESSIONS(80) ",\"stress\":true}", STATUS_WARNING, "WARNING: stress\n" },
		{ GOOD ",\"relay_guard\":false}", STATUS_WARNING,
		  "WARNING: the relay guard is off: everybody may relay\n" },
		{ GOOD ",\"reload\":{\"time\":\"T\",\"success\":false}}", STATUS_WARNING,
		  "WARNING: the last reload or upgrade was refused, T\n" },
		{ GOOD ",\"log_dropped\":7,\"log_dropped_ago\":3600}", STATUS_WARNING,
		  "WARNING: the log has lost records, 7 in all\n" },
		{ GOOD ",\"log_dropped\":7,\"log_dropped_ago\":3601}", STATUS_GOOD,
		  "OK: 1 destination up, 10 of 100 sessions\n" },
		{ GOOD ",\"log_disk\":{" DISK(49, "log") "," DISK(0, "archive") "}}",
		  STATUS_WARNING,
		  "WARNING: the disk of the log has 4.9 % free; the disk of the log's archive has "
		  "0.0 % free\n" },
		{ GOOD ",\"log_disk\":{\"log\":{\"free\":0,\"size\":0}}}", STATUS_GOOD,
		  "OK: 1 destination up, 10 of 100 sessions\n" },
		{ HEAD
		  "\"destinations\":[" UP("a:25") ",{\"name\":\"b:25\",\"state\":\"busy\","
						  "\"said\":\"421-no\\n421 no\"}]," SESSIONS(1) "}",
		  STATUS_WARNING, "WARNING: b:25 is busy: 421-no 421 no\n" },
		{ HEAD "\"destinations\":[" UP(
			  "a:25") ",{\"name\":\"b:25\",\"state\":\"down\"}]," SESSIONS(1) "}",
		  STATUS_WARNING, "WARNING: b:25 is down\n" },
		{ HEAD "\"destinations\":[" UP("a:25") ",{\"name\":\"b:25\",\"state\":\"up\","
						       "\"drained\":true}]," SESSIONS(1) "}",
		  STATUS_WARNING, "WARNING: b:25 is drained\n" },
		{ HEAD "\"destinations\":[{\"name\":\"b:25\",\"state\":\"up\","
		       "\"refused_in_minute\":3}]," SESSIONS(1) "}",
		  STATUS_WARNING, "WARNING: b:25 has refused 3 connections in the last minute\n" },
		{ HEAD "\"destinations\":[{\"name\":\"b:25\",\"state\":\"up\","
		       "\"refused_in_minute\":1}]," SESSIONS(1) "}",
		  STATUS_WARNING, "WARNING: b:25 has refused 1 connection in the last minute\n" },
		{ HEAD "\"destinations\":[{\"name\":\"b:25\",\"state\":\"down\"}]," SESSIONS(1) "}",
		  STATUS_CRITICAL, "CRITICAL: no destination is up; b:25 is down\n" },
		{ HEAD
		  "\"destinations\":[{\"name\":\"b:25\",\"state\":\"up\",\"drained\":true}]," SESSIONS(
			  1) "}",
		  STATUS_CRITICAL, "CRITICAL: no destination is up; b:25 is drained\n" },
		{ GOOD CERTIFICATES(LASTS("a.test", 1814401)), STATUS_GOOD,
		  "OK: 1 destination up, 10 of 100 sessions\n" },
		{ GOOD CERTIFICATES(CERTIFICATE("a.test", 1814400)), STATUS_WARNING,
		  "WARNING: the certificate of a.test ends in 21.0 days\n" },
		{ GOOD CERTIFICATES(LASTS("a.test", 1000) "," CERTIFICATE(
			  "b.test", 86400) "," CERTIFICATE("c.test", 172800)),
		  STATUS_WARNING,
		  "WARNING: the certificate of b.test ends in 1.0 days, and 1 more ends soon\n" },
		{ GOOD CERTIFICATES(CERTIFICATE("a.test", 1) "," CERTIFICATE(
			  "b.test", 0) "," CERTIFICATE("c.test", 2)),
		  STATUS_CRITICAL,
		  "CRITICAL: the certificate of b.test has ended, and 2 more end soon\n" },
		{ GOOD ",\"renewal_refused\":true}", STATUS_WARNING,
		  "WARNING: certificates that have changed are not taken: see the log\n" },
		{ "{}", STATUS_CRITICAL, "CRITICAL: no daemon answers at /run/x\n" },
		{ NULL, STATUS_CRITICAL, "CRITICAL: no daemon answers at /run/x\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *now = rows[i].document ? json_loads(rows[i].document, 0, NULL) : NULL;
		char *line = NULL;
		size_t n;
		FILE *out = open_memstream(&line, &n);

		assert_true((now != NULL) == (rows[i].document != NULL));
		assert_non_null(out);
		enum status_check status = status_check_print(out, now, "/run/x");

		assert_int_equal(fclose(out), 0);
		assert_string_equal(line, rows[i].line);
		assert_int_equal(status, rows[i].status);
		free(line);
		json_decref(now);
	}
}

/* However much is wrong, it is one line. */
static void test_much_is_wrong(void **state)
{
	json_t *now = json_pack("{s:s,s:[]}", "version", "1", "destinations");
	json_t *list = json_object_get(now, "destinations");
	char *line = NULL;
	size_t n;
	FILE *out = open_memstream(&line, &n);

	(void)state;
	assert_non_null(out);
	for (unsigned i = 0; i < 64; i++)
		json_array_append_new(list,
				      json_pack("{s:s,s:s,s:s}", "name", "name.example:25", "state",
						"busy", "said",
						"421-a long story\n421-that tells of many\n"
						"421 things in many more words than are needed"));
	assert_int_equal(status_check_print(out, now, "/run/x"), STATUS_CRITICAL);
	assert_int_equal(fclose(out), 0);
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
	free(line);
	json_decref(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_much_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
