/* SPDX-License-Identifier: ISC */
/*
 * name: see name.h. A short name is worth a question: servers that ask for a full one in EHLO
 * (Postfix' reject_non_fqdn_helo_hostname) refuse every recipient of a client that has none.
 */
#include "check/name.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LABEL_MAX 63

bool name_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-";

	if (strlen(name) > NAME_MAX_OCTETS)
		return false;
	for (;; name++) {
		size_t n = strspn(name, allowed);

		if (n == 0 || n > LABEL_MAX || name[0] == '-' || name[n - 1] == '-')
			return false;
		name += n;
		if (*name != '.')
			return *name == '\0';
	}
}

/* The full name of HOST, as /etc/hosts or a name server has it, over OUT; else OUT stays. */
static void ask_full_name(const char *host, char out[NAME_MAX_OCTETS + 1])
{
	struct addrinfo hints = { .ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM }, *found;

	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return;
	if (found->ai_canonname && strchr(found->ai_canonname, '.') &&
	    name_valid(found->ai_canonname) &&
	    strncasecmp(found->ai_canonname, "localhost.", 10) != 0)
		snprintf(out, NAME_MAX_OCTETS + 1, "%s", found->ai_canonname);
	freeaddrinfo(found);
}

void name_find(char out[NAME_MAX_OCTETS + 1])
{
	char host[NAME_MAX_OCTETS + 1];

	if (gethostname(host, sizeof(host)) != 0 || !memchr(host, 0, sizeof(host)) ||
	    !name_valid(host))
		snprintf(host, sizeof(host), "localhost");
	memcpy(out, host, sizeof(host));
	if (!strchr(host, '.') && strcasecmp(host, "localhost") != 0)
		ask_full_name(host, out);
}
