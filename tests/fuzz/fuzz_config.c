/* SPDX-License-Identifier: ISC */
/*
 * A configuration file: reading it never fails, gives the same each time, leaves every setting
 * within what its row of the table allows, and tells each fault in one printable line that begins
 * with its place. The first lines may be given as -o arguments instead.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"
#include "config/load.h"
#include "config/table.h"
#include "fuzz.h"

#define OVERRIDES_MAX 4

static void write_all(int fd, struct span s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		CHECK(n > 0);
		s = span_from(s, (size_t)n);
	}
}

/* Settings are plain data with pointers to strings: the strings are compared, then put aside. */
static void check_same_settings(const struct config *a, const struct config *b)
{
	struct settings left = a->set, right = b->set;

	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		const char *x, *y;

		if (setting_rows[s].type != SETTING_TYPE_STRING)
			continue;
		memcpy(&x, (char *)&left + setting_rows[s].offset, sizeof(x));
		memcpy(&y, (char *)&right + setting_rows[s].offset, sizeof(y));
		CHECK(x && y && strcmp(x, y) == 0);
		memset((char *)&left + setting_rows[s].offset, 0, sizeof(x));
		memset((char *)&right + setting_rows[s].offset, 0, sizeof(y));
	}
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		size_t n = setting_rows[s].type == SETTING_TYPE_BOOL ? sizeof(bool) : sizeof(int);

		if (setting_rows[s].type != SETTING_TYPE_STRING)
			CHECK(memcmp((char *)&left + setting_rows[s].offset,
				     (char *)&right + setting_rows[s].offset, n) == 0);
	}
}

static void check_values(const struct config *c)
{
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		const struct setting_row *row = &setting_rows[s];
		const char *text;
		uint8_t flag;
		int value;

		CHECK(strcmp(config_name(s), row->name) == 0);
		switch (row->type) {
		case SETTING_TYPE_INT:
			memcpy(&value, (const char *)&c->set + row->offset, sizeof(value));
			CHECK(value >= row->min && value <= row->max);
			break;
		case SETTING_TYPE_BOOL:
			memcpy(&flag, (const char *)&c->set + row->offset, sizeof(flag));
			CHECK(flag <= 1);
			break;
		case SETTING_TYPE_STRING:
			memcpy(&text, (const char *)&c->set + row->offset, sizeof(text));
			CHECK(text);
			for (; *text; text++)
				CHECK(*text == '\t' || !fuzz_is_control((uint8_t)*text));
			break;
		case SETTING_TYPE_MEMBER:
			memcpy(&value, (const char *)&c->set + row->offset, sizeof(value));
			CHECK(value >= 0 && value < choice_rows[row->choice].count);
			break;
		}
	}
}

static void check_faults(const struct config *c, const char *path)
{
	char *printed = NULL;
	size_t n = 0, length = 0;
	FILE *out = open_memstream(&printed, &n);

	CHECK(out);
	config_print_faults(c, out);
	CHECK(fclose(out) == 0);
	for (size_t i = 0; i < c->fault_count; i++) {
		const char *text = c->faults[i].text;

		CHECK(strncmp(text, path, strlen(path)) == 0 || strncmp(text, "-o: ", 4) == 0);
		CHECK(strstr(text, ": "));
		CHECK(strncmp(printed + length, text, strlen(text)) == 0);
		length += strlen(text) + 1;
		CHECK(printed[length - 1] == '\n');
		for (; *text; text++)
			CHECK(!fuzz_is_control((uint8_t)*text));
	}
	CHECK(length == n);
	free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	size_t count = fuzz_choice(&in) % (OVERRIDES_MAX + 1), n = 0;
	char *overrides[OVERRIDES_MAX], path[40];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct config *c, *again;

	CHECK(fd >= 0);
	while (n < count && in.n) {
		const uint8_t *lf = memchr(in.p, '\n', in.n);
		size_t length = lf ? (size_t)(lf - in.p) : in.n;

		overrides[n] = malloc(length + 1);
		CHECK(overrides[n]);
		memcpy(overrides[n], in.p, length);
		overrides[n++][length] = '\0';
		in = span_from(in, length + 1);
	}
	write_all(fd, in);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	c = config_load(path, (const char *const *)overrides, n);
	check_values(c);
	check_faults(c, path);
	again = config_load(path, (const char *const *)overrides, n);
	CHECK(again->fault_count == c->fault_count);
	for (size_t i = 0; i < c->fault_count; i++)
		CHECK(strcmp(c->faults[i].text, again->faults[i].text) == 0);
	check_same_settings(c, again);
	config_free(again);
	config_free(c);
	while (n > 0)
		free(overrides[--n]);
	close(fd);
	return 0;
}
