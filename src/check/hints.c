/* SPDX-License-Identifier: ISC */
/* hints: see hints.h. */
#include "check/hints.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/addr.h"

#define ENTRY_MAX 256

/* "hash:/etc/aliases": a type and a file. What is behind the colon, or NULL. */
static const char *behind_map_type(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz_");

	return n && text[n] == ':' && text[n + 1] == '/' && text[n + 2] != '/' ? text + n + 1
									       : NULL;
}

static bool is_windows_path(const char *text)
{
	return isalpha((unsigned char)text[0]) && text[1] == ':' &&
	       (text[2] == '\\' || text[2] == '/');
}

/* A digit, a colon or an octet of an address is where a name of a file has something else. */
static bool looks_like_file(const char *text)
{
	return *text == '.' || *text == '~' ||
	       (strchr(text, '/') && text[strspn(text, "0123456789abcdefABCDEF:./")]);
}

static bool copy_entry(char out[ENTRY_MAX], const char *entry, size_t n)
{
	if (n == 0 || n >= ENTRY_MAX)
		return false;
	memcpy(out, entry, n);
	out[n] = '\0';
	return true;
}

const char *hints_network(const char *entry, size_t n)
{
	char text[ENTRY_MAX];
	const char *slash;

	if (!copy_entry(text, entry, n))
		return NULL;
	slash = strchr(text, '/');
	if (is_windows_path(text) || behind_map_type(text))
		return "no map type is known: write a plain file, with one network a line, from / "
		       "on";
	if (strchr(text, ',') || strchr(text, ';'))
		return "networks are separated by blanks";
	if (*text == '!')
		return "nothing can be taken out of a network; name those that may relay";
	if (strstr(text, "://"))
		return "no URL: write an address, a network, or a file from / on";
	if (*text == '[')
		return "no brackets: write the address as it is, like 2001:db8::/32";
	if (slash && strchr(slash, '.') && strspn(text, "0123456789./") == n)
		return "no netmask: write the number of its bits, like /24 for 255.255.255.0";
	if (strchr(text, '*'))
		return "no pattern: write a network, like 192.0.2.0/24";
	if (strchr(text, '-') && strspn(text, "0123456789.-") == n)
		return "no range: write networks, like 192.0.2.0/25";
	return looks_like_file(text) ? "a file is written from / on" : NULL;
}

/* IP:PORT, [IPv6]:PORT or *:PORT. */
static bool has_port(const char *entry)
{
	const char *colon = strrchr(entry, ':');
	char host[ENTRY_MAX];
	struct addr a;

	if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")] ||
	    !copy_entry(host, entry, (size_t)(colon - entry)))
		return false;
	if (*host == '[' || strcmp(host, "*") == 0)
		return true;
	return addr_parse_ip(&a, host) == 0 ||
	       (!strchr(host, ':') && isalpha((unsigned char)*host));
}

const char *hints_listen(const char *entry)
{
	if (strchr(entry, ',') || strchr(entry, ';'))
		return "is no IP address; addresses are separated by blanks";
	if (has_port(entry))
		return "is no IP address; the port goes into LISTEN_PORT";
	if (strcmp(entry, "*") == 0 || strcmp(entry, "any") == 0 || strcmp(entry, "all") == 0)
		return "is no IP address; every address is the empty list, \"\"";
	if (*entry == '[')
		return "is no IP address; an IPv6 address stands here without brackets";
	if (*entry == '/' || strncmp(entry, "unix:", 5) == 0)
		return "is no IP address; Unix sockets cannot be listened on";
	if (strchr(entry, '/'))
		return "is no IP address; one address is wanted, no network";
	return NULL;
}

void hints_user(char *out, size_t cap)
{
	const struct passwd *pw = getpwuid(geteuid());

	if (pw)
		snprintf(out, cap, "user %s", pw->pw_name);
	else
		snprintf(out, cap, "user %u", (unsigned)geteuid());
}

/* The first directory on the way to PATH that may not be searched, into OUT; false: none is it. */
static bool closed_directory(const char *path, char out[PATH_MAX])
{
	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		size_t n = slash == path ? 1 : (size_t)(slash - path);

		if (n >= PATH_MAX)
			return false;
		memcpy(out, path, n);
		out[n] = '\0';
		if (faccessat(AT_FDCWD, out, X_OK, AT_EACCESS) != 0 && errno == EACCES)
			return true;
	}
	return false;
}

/* PATH cannot be WHAT ("read") by this process, which is forbidden. */
static void denied(const char *path, const char *what, char *out, size_t cap)
{
	char user[64], dir[PATH_MAX];

	hints_user(user, sizeof(user));
	if (closed_directory(path, dir))
		snprintf(out, cap, "%s: cannot be %s by %s, who may not enter %s", path, what, user,
			 dir);
	else
		snprintf(out, cap, "%s: cannot be %s by %s: %s", path, what, user,
			 strerror(EACCES));
}

bool hints_socket(const char *path, char *out, size_t cap)
{
	struct stat st;
	int err = stat(path, &st) != 0 ? errno : 0;

	if (err == 0 && !S_ISSOCK(st.st_mode)) {
		snprintf(out, cap, "%s: is there and is no socket", path);
		return true;
	}
	if (err == 0 && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0)
		err = errno;
	if (err == EACCES)
		denied(path, "connected to", out, cap);
	return err == EACCES;
}

const char *hints_path(const char *path, size_t n)
{
	return n > 5 && strncmp(path, "file:", 5) == 0 ? "write it from / on, without file:"
						       : "write it from / on";
}

/* PATH is probably several, with commas or blanks between them. */
static bool is_several(const char *path)
{
	for (const char *at = strpbrk(path, ",; \t"); at; at = strpbrk(at + 1, ",; \t"))
		if (at[1 + strspn(at + 1, " \t")] == '/' || !at[1])
			return true;
	return false;
}

/* A hint for PATH, a file that does not exist: what the operator probably meant; "": none. */
static const char *meant(const char *path, bool list)
{
	if (*path != '/')
		return strchr(path, '@') ? "; a file is wanted here: write this into one"
					 : "; write it from / on";
	if (!is_several(path))
		return "";
	return list ? "; files are separated by blanks" : "; one is allowed here, and no list";
}

void hints_file(const char *path, bool list, int err, char *out, size_t cap)
{
	if (is_windows_path(path))
		snprintf(out, cap, "%s: cannot be read: write a path from / on", path);
	else if (behind_map_type(path))
		snprintf(out, cap, "%s: no map type is known: write a plain file, %s", path,
			 behind_map_type(path));
	else if (err != EACCES)
		snprintf(out, cap, "%s: cannot be read: %s%s", path, strerror(err),
			 err == ENOENT ? meant(path, list) : "");
	else
		denied(path, "read", out, cap);
}

void hints_denied(char *why, size_t cap)
{
	const char *denied = strerror(EACCES);
	size_t n = strlen(why), end = strlen(denied);
	char user[64];

	if (n < end || strcmp(why + n - end, denied) != 0)
		return;
	hints_user(user, sizeof(user));
	snprintf(why + n, cap - n, " to %s", user);
}
