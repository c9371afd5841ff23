/* SPDX-License-Identifier: ISC */
/* log_where: see log_where.h. */
#include "ctl/log_where.h"

#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

/* Before the first rotation there may be no archive. */
static bool has_archive(const char *path)
{
	struct stat st;

	return *path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int log_where_find(struct log_where *w, const char *title, bool current)
{
	const struct settings *set;

	if (w->count)
		return -1;
	w->config = ctl_config_load(&w->from);
	if (!w->config) {
		fprintf(stderr, "%s: FILE may be named instead\n", title);
		return EX_CONFIG;
	}
	set = &w->config->set;
	if (strcmp(set->log_file, "-") == 0) {
		fprintf(stderr,
			"%s: LOG_FILE is \"-\": the log goes to the daemon's standard output. "
			"Which FILE?\n",
			title);
		return EX_CONFIG;
	}
	w->user = set->user;
	if (!current && has_archive(set->log_archive_dir))
		w->own[w->count++] = (char *)(uintptr_t)set->log_archive_dir;
	w->own[w->count++] = (char *)(uintptr_t)set->log_file;
	w->files = w->own;
	return -1;
}

void log_where_close(struct log_where *w)
{
	if (w->config)
		config_free(w->config);
	ctl_config_close(&w->from);
}
