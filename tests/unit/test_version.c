/* SPDX-License-Identifier: ISC */
/*
 * version: a checked configuration as an image, written by one process and mapped by others; and
 * how it gets to them (channel), with the state of its destinations (runtime_route).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/load.h"
#include "route/shared.h"
#include "runtime/channel.h"
#include "runtime/runtime.h"
#include "check/version.h"

static char dir[64], recipients[96];
static struct check check;
static struct config *config;

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/caronte-version-XXXXXX");
	if (!mkdtemp(dir) || chmod(dir, 0755) != 0)
		return -1;
	snprintf(recipients, sizeof(recipients), "%s/recipients", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	check_release(&check);
	config_free(config);
	config = NULL;
	unlink(recipients);
	return rmdir(dir);
}

static void write_recipients(const char *text)
{
	FILE *f = fopen(recipients, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* Checks a configuration with MORE (may be NULL); the image's descriptor. */
static int make_image(const char *more)
{
	char table[128];
	const char *lines[] = { "USER=nobody",
				"LISTEN_ADDRESS=127.0.0.1",
				"LISTEN_PORT=2525",
				"MAX_SESSIONS=50",
				"LOG_FILE=-",
				"LOG_LEVEL=1",
				"ENGINE_EPOLL=y",
				"DESTINATIONS=127.0.0.1:9 [::1]:10,max=3",
				"COOPERATION_CLUSTER=y",
				"RELAY_NETWORKS=192.0.2.0/24",
				"LOG_ROTATE_HOURS=0",
				"LOG_ROTATE_MIB=0",
				table,
				more };
	char why[PROBE_TEXT_MAX];
	struct version_files files;

	snprintf(table, sizeof(table), "RECIPIENTS=%s", recipients);
	config_free(config);
	check_release(&check);
	config = config_load(NULL, lines, sizeof(lines) / sizeof(*lines) - (more ? 0 : 1));
	assert_int_equal(check_run(&check, config, why, sizeof(why)), 0);
	config_print_faults(config, stderr);
	assert_int_equal(config->fault_count, 0);
	assert_int_equal(version_make_files(&files), 0);
	assert_int_equal(version_write(&files, config, &check), 0);
	close(files.keys);
	return files.image;
}

static void map_image(struct version *v, const char *more)
{
	int fd = make_image(more);

	assert_int_equal(version_map(v, fd), 0);
	close(fd);
}

static bool is_local(const struct version *v, const char *local, const char *domain)
{
	struct policy_address a = { .local = span_str(local), .domain = span_str(domain) };

	return policy_recipients_match(v->policy.recipients, &a, "", NULL);
}

static void comes_back_whole(void **state)
{
	struct version v;
	struct addr a;

	(void)state;
	write_recipients("@one.test\nx@two.test\n");
	map_image(&v, "STOP_GRACE=7");
	check_release(&check);
	assert_int_equal(v.config.set.stop_grace, 7);
	assert_int_equal(v.config.set.max_sessions, 50);
	assert_string_equal(v.config.set.user, "nobody");
	assert_string_equal(v.config.set.control_socket, "");
	assert_int_equal(v.route->count, 2);
	assert_string_equal(v.route->destination[1].name, "[::1]:10");
	assert_int_equal(v.route->destination[1].max, 3);
	assert_int_equal(v.listen->count, 1);
	assert_int_equal(v.probe->resolved[1].n, 1);
	assert_int_equal(v.probe->engine, IO_ENGINE_EPOLL);
	assert_true(v.policy.guard);
	assert_true(is_local(&v, "any", "one.test"));
	assert_true(is_local(&v, "x", "two.test"));
	assert_false(is_local(&v, "y", "two.test"));
	assert_int_equal(addr_parse_ip(&a, "192.0.2.77"), 0);
	assert_true(policy_networks_match(v.policy.networks, &a));
	assert_int_equal(addr_parse_ip(&a, "192.0.3.77"), 0);
	assert_false(policy_networks_match(v.policy.networks, &a));
	version_unmap(&v);
	assert_null(v.image);
}

/* Whoever has the descriptor cannot change what others have mapped. */
static void nobody_can_change_it(void **state)
{
	int fd;

	(void)state;
	write_recipients("");
	fd = make_image(NULL);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	close(fd);
}

static void what_is_no_image_is_refused(void **state)
{
	struct version v;
	uint8_t *copy;
	struct stat st;
	int fd, other;

	(void)state;
	write_recipients("@one.test\n");
	fd = make_image(NULL);
	assert_int_equal(fstat(fd, &st), 0);
	copy = malloc((size_t)st.st_size);
	assert_non_null(copy);
	assert_int_equal(pread(fd, copy, (size_t)st.st_size, 0), st.st_size);
	close(fd);
	/* The mark, and every place and length behind it. */
	for (size_t at = 0; at < 64 + 11 * 8; at++) {
		uint8_t was = copy[at];

		other = memfd_create("other", MFD_CLOEXEC);
		copy[at] = (uint8_t)(was ^ 0x80);
		assert_int_equal(write(other, copy, (size_t)st.st_size), st.st_size);
		copy[at] = was;
		if (version_map(&v, other) == 0) { /* a place that is somewhere else inside */
			assert_true(at >= 64);
			version_unmap(&v);
		}
		close(other);
	}
	for (off_t size = 0; size < st.st_size; size += size < 300 ? 1 : 1021) {
		other = memfd_create("other", MFD_CLOEXEC);
		assert_int_equal(write(other, copy, (size_t)size), size);
		assert_int_equal(version_map(&v, other), -EPROTO);
		close(other);
	}
	free(copy);
}

/* Other certificates, and everything else as it was. */
static void is_renewed(void **state)
{
	char chains[] = "chains", keys[5], text[256];
	struct certificates k = { .count = 1,
				  .chains = (uint8_t *)chains,
				  .chains_n = 6,
				  .named = 6,
				  .keys = memfd_create("keys", MFD_CLOEXEC),
				  .mark = { 1 },
				  .named_mark = { 1 } };
	struct version_files files;
	struct version v, next;
	struct addr a;

	(void)state;
	assert_int_equal(write(k.keys, "keys", 4), 4);
	assert_int_equal(version_make_files(&files), 0);
	write_recipients("@one.test\n");
	map_image(&v, "STOP_GRACE=7");
	write_recipients("@two.test\n"); /* which nobody reads */
	assert_int_equal(version_renew(&files, &v, &k, 99), 0);
	assert_int_equal(version_map(&next, files.image), 0);
	version_changes(&v, &next, text, sizeof(text));
	assert_string_equal(text, "TLS_CERTIFICATE TLS_KEY");
	version_unmap(&v);
	assert_int_equal(next.probe->looks, 99);
	assert_memory_equal(next.chains.p, chains, 6);
	assert_memory_equal(next.keys_mark, k.mark, TLS_DIGEST);
	/* The private keys are apart, and nobody can change them. */
	assert_int_equal(pread(files.keys, keys, sizeof(keys), 0), 4);
	assert_memory_equal(keys, "keys", 4);
	assert_int_equal(pwrite(files.keys, "k", 1, 0), -1);
	assert_null(memmem(next.image, next.size, "keys", 4));
	version_close_files(&files);
	assert_int_equal(files.keys, -1);
	close(k.keys);
	assert_int_equal(next.config.set.stop_grace, 7);
	assert_string_equal(next.config.set.user, "nobody");
	assert_string_equal(next.route->destination[1].name, "[::1]:10");
	assert_int_equal(next.probe->resolved[1].n, 1);
	assert_int_equal(next.listen->count, 1);
	assert_true(next.workers > 0);
	assert_true(is_local(&next, "any", "one.test"));
	assert_false(is_local(&next, "any", "two.test"));
	assert_int_equal(addr_parse_ip(&a, "192.0.2.77"), 0);
	assert_true(policy_networks_match(next.policy.networks, &a));
	version_unmap(&next);
}

static void says_what_has_changed(void **state)
{
	struct version a, b;
	char text[256];

	(void)state;
	write_recipients("@one.test\n");
	map_image(&a, NULL);
	map_image(&b, NULL);
	version_changes(&a, &b, text, sizeof(text));
	assert_string_equal(text, "");
	version_unmap(&b);
	write_recipients("@two.test\n");
	map_image(&b, "BARE_NEWLINE_NORMALIZE=y");
	version_changes(&a, &b, text, sizeof(text));
	assert_string_equal(text, "RECIPIENTS BARE_NEWLINE_NORMALIZE");
	version_changes(&b, &a, text, sizeof(text));
	assert_string_equal(text, "RECIPIENTS BARE_NEWLINE_REJECT");
	/* As many as fit, never half a name. */
	version_changes(&a, &b, text, 20);
	assert_string_equal(text, "RECIPIENTS");
	version_changes(&a, &b, text, 10);
	assert_string_equal(text, "");
	version_unmap(&a);
	version_unmap(&b);
}

/* ---- the state of destinations ---- */

static void state_is_carried_over(void **state)
{
	struct route_shared *old, *new;
	struct runtime rt = { 0 };
	struct version a, b;
	struct addr list[ROUTE_ADDRESSES];
	int fd;

	(void)state;
	write_recipients("");
	map_image(&a, NULL);
	map_image(&b, "DESTINATIONS=[::1]:10 127.0.0.1:11 127.0.0.1:9");
	fd = runtime_route(&a, NULL, &old);
	assert_true(fd >= 0);
	close(fd);
	runtime_use(&rt, &a);
	rt.route_shared = old;
	assert_true(route_drain(old, 1, true));
	assert_true(route_failed(old, NULL, 0, 1000));
	fd = runtime_route(&b, &rt, &new);
	assert_true(fd >= 0);
	close(fd);
	assert_true(route_up(new, 0) && route_drained(new, 0));
	assert_true(route_up(new, 1) && !route_drained(new, 1));
	assert_true(!route_up(new, 2) && !route_drained(new, 2));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(route_get_addresses(new, i, list), 1);
	assert_int_equal(list[0].port, 9);
	runtime_forget_route(old);
	runtime_forget_route(new);
	version_unmap(&a);
	version_unmap(&b);
}

/* ---- the channel ---- */

static void news_and_reports(void **state)
{
	struct channel_news news = { .number = 7, .slot = { 3, 2, 1 } }, got = { 0 };
	struct channel_report report = { 1, 1 };
	struct channel_files files = { -1, -1, -1 };
	int pair[2], fds[2], err;
	char octet;

	(void)state;
	assert_int_equal(channel_open(pair), 0);
	assert_int_equal(pipe(fds), 0);
	const struct channel_files some = { fds[0], fds[1], -1 }, all = { fds[0], fds[1], fds[1] };

	assert_int_equal(channel_hear(pair[1], &got, &files), -EAGAIN);
	assert_int_equal(channel_tell(pair[0], &news, &some), 0);
	assert_int_equal(channel_hear(pair[1], &got, &files), 1);
	assert_int_equal(files.keys, -1);
	channel_close_files(&files);
	assert_int_equal(channel_tell(pair[0], &news, &all), 0);
	assert_int_equal(channel_hear(pair[1], &got, &files), 1);
	assert_true(files.keys >= 0);
	assert_memory_equal(&got, &news, sizeof(news));
	/* They are the ones that were sent, and are not kept over an exec. */
	assert_int_equal(write(files.state, "x", 1), 1);
	assert_int_equal(read(files.image, &octet, 1), 1);
	assert_int_equal(fcntl(files.image, F_GETFD), FD_CLOEXEC);
	channel_close_files(&files);
	assert_int_equal(files.image, -1);
	assert_false(channel_reported(pair[0], &report));
	channel_report(pair[1], &(struct channel_report){ 7, 5 });
	channel_report(pair[1], &(struct channel_report){ 7, 7 });
	assert_true(channel_reported(pair[0], &report));
	assert_int_equal(report.newest, 7);
	assert_int_equal(report.oldest, 7);
	/* Half a message is none; a full queue, and nobody, are said. */
	assert_int_equal(write(pair[0], "half", 4), 4);
	assert_int_equal(channel_hear(pair[1], &got, &files), -EMFILE);
	do {
		err = channel_tell(pair[0], &news, &all);
	} while (err == 0);
	assert_int_equal(err, -EAGAIN);
	close(pair[1]);
	err = channel_tell(pair[0], &news, &all);
	assert_true(err == -EPIPE || err == -ECONNRESET);
	close(pair[0]);
	close(fds[0]);
	close(fds[1]);
}

static void end_is_heard(void **state)
{
	struct channel_news got;
	struct channel_files files;
	int pair[2];

	(void)state;
	assert_int_equal(channel_open(pair), 0);
	close(pair[0]);
	assert_int_equal(channel_hear(pair[1], &got, &files), 0);
	channel_report(pair[1], &(struct channel_report){ 1, 1 });
	close(pair[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(comes_back_whole),
		TEST(nobody_can_change_it),
		TEST(what_is_no_image_is_refused),
		TEST(is_renewed),
		TEST(says_what_has_changed),
		TEST(state_is_carried_over),
		TEST(news_and_reports),
		TEST(end_is_heard),
	};

	return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
