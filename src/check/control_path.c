/* SPDX-License-Identifier: ISC */
/* control_path: see control_path.h. */
#include "check/control_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/addr.h"

static void directory_of(const char *path, char *out, size_t cap)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(out, cap, ".");
	else if (slash == path)
		snprintf(out, cap, "/");
	else
		snprintf(out, cap, "%.*s", (int)(slash - path), path);
}

const char *control_path_check(const char *path, char *out, size_t cap)
{
	char dir[ADDR_PATH_MAX + 1];
	struct stat st;

	if (*path != '/') {
		snprintf(out, cap, "\"%s\": is no absolute path; write it from / on", path);
		return out;
	}
	if (strlen(path) > ADDR_PATH_MAX) {
		snprintf(out, cap, "%s: too long, at most %d octets", path, ADDR_PATH_MAX);
		return out;
	}
	directory_of(path, dir, sizeof(dir));
	if (access(dir, W_OK | X_OK) != 0) {
		snprintf(out, cap, "%s: cannot be made in %s: %s", path, dir, strerror(errno));
		return out;
	}
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
		snprintf(out, cap, "%s: is there already and is no socket", path);
		return out;
	}
	return NULL;
}
