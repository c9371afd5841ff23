/* SPDX-License-Identifier: ISC */
/*
 * RELAY_NETWORKS: a table is built exactly when each of its lines is a network, and then matches
 * exactly the addresses that one of them holds, by the longest; in how many texts the lines come,
 * and in what order, changes nothing.
 */
#include <arpa/inet.h>

#include "fuzz.h"
#include "policy/policy.h"

#define NETWORKS_MAX 200

struct network {
	uint8_t family, bits;
	uint8_t ip[16];
};

struct counted {
	struct policy_faults faults;
	unsigned count, last_line;
};

static void report(struct policy_faults *f, unsigned line, const char *what)
{
	struct counted *c = (struct counted *)(void *)f;

	CHECK(line >= c->last_line && line > 0 && *what);
	c->last_line = line;
	c->count++;
}

/* The next line of *TEXT, blanks around it taken off; false at the end. *SAYS: it is an entry. */
static bool next_line(struct span *text, struct span *line, bool *says)
{
	size_t n = 0;

	if (text->n == 0)
		return false;
	while (n < text->n && text->p[n] != '\n')
		n++;
	*line = span_of(text->p, n);
	*text = span_from(*text, n + 1);
	*says = !(line->n && line->p[0] == '#');
	if (line->n && line->p[line->n - 1] == '\r')
		line->n--;
	while (line->n && strchr(" \t", line->p[0]) && line->p[0])
		*line = span_from(*line, 1);
	while (line->n && line->p[line->n - 1] && strchr(" \t", line->p[line->n - 1]))
		line->n--;
	*says = *says && line->n > 0;
	return true;
}

/* A line that was found good, by the C library. */
static struct network read_network(struct span line)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct network net = { .family = 4, .bits = 32 };
	char text[64], *slash;

	CHECK(line.n < sizeof(text));
	memcpy(text, line.p, line.n);
	text[line.n] = '\0';
	slash = strchr(text, '/');
	if (slash)
		*slash++ = '\0';
	if (inet_pton(AF_INET, text, net.ip) != 1) {
		CHECK(inet_pton(AF_INET6, text, net.ip) == 1);
		net.family = 6;
		net.bits = 128;
	}
	if (slash)
		net.bits = (uint8_t)atoi(slash);
	if (net.family == 6 && memcmp(net.ip, mapped, sizeof(mapped)) == 0) {
		CHECK(net.bits >= 96);
		memmove(net.ip, net.ip + 12, 4);
		memset(net.ip + 4, 0, 12);
		net.family = 4;
		net.bits = (uint8_t)(net.bits - 96);
	}
	return net;
}

static bool holds(const struct network *net, const struct addr *a)
{
	if (a->family != net->family)
		return false;
	for (unsigned i = 0; i < net->bits; i++)
		if (((net->ip[i / 8] ^ a->ip[i / 8]) >> (7 - i % 8)) & 1)
			return false;
	return true;
}

static void check_address(const struct policy_networks *t, const struct network *nets, size_t n,
			  const struct addr *a)
{
	char text[80], why[POLICY_NETWORK_WHY];
	int longest = -1;
	struct network said;

	for (size_t i = 0; i < n; i++)
		if (holds(&nets[i], a) && nets[i].bits > longest)
			longest = nets[i].bits;
	CHECK(policy_networks_match(t, a) == (longest >= 0));
	CHECK(policy_networks_explain(t, a, text, sizeof(text)) == (longest >= 0));
	if (longest < 0)
		return;
	CHECK(policy_network_check(span_str(text), why) == NULL);
	said = read_network(span_str(text));
	CHECK(said.bits == longest && holds(&said, a));
}

/* The first and last address of each network, and those beside them. */
static void check_edges(const struct policy_networks *t, const struct network *nets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned octets = nets[i].family == 4 ? 4 : 16;
		struct addr a = { .family = nets[i].family };

		memcpy(a.ip, nets[i].ip, octets);
		check_address(t, nets, n, &a);
		for (unsigned k = octets; k-- > 0 && a.ip[k]-- == 0;)
			;
		check_address(t, nets, n, &a);
		memcpy(a.ip, nets[i].ip, octets);
		for (unsigned k = nets[i].bits; k < 8 * octets; k++)
			a.ip[k / 8] |= (uint8_t)(0x80 >> k % 8);
		check_address(t, nets, n, &a);
		for (unsigned k = octets; k-- > 0 && ++a.ip[k] == 0;)
			;
		check_address(t, nets, n, &a);
	}
}

/* Builds the table of N texts and says how many faults it has; NULL when it has any. */
static struct policy_networks *build(const struct span *texts, size_t n, unsigned *faults,
				     size_t *used)
{
	struct counted c[2] = { { .faults = { report } }, { .faults = { report } } };
	struct policy_faults *f[2] = { &c[0].faults, &c[1].faults };
	size_t room = policy_networks_room(texts, n);
	void *mem = aligned_alloc(16, (room + 15) & ~(size_t)15);

	CHECK(mem);
	memset(mem, 0, room);
	*used = policy_networks_build(mem, room, texts, f, n);
	CHECK(*used <= room);
	*faults = c[0].count + c[1].count;
	CHECK((*used == 0) == (*faults > 0));
	if (*used)
		return mem;
	free(mem);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct network nets[NETWORKS_MAX];
	struct span in = span_of(data, size), rest, line, halves[2];
	uint8_t choice = fuzz_choice(&in), *copy = fuzz_copy(in);
	struct policy_networks *t, *t2;
	size_t n = 0, used, used2, half = 0;
	unsigned wrong = 0, faults, faults2;
	char why[POLICY_NETWORK_WHY];
	bool says;

	in.p = copy;
	rest = in;
	if (in.n >= 3 && memcmp(copy, "\xef\xbb\xbf", 3) == 0) {
		wrong++;
		rest = span_from(in, 3);
	}
	while (next_line(&rest, &line, &says)) {
		const char *what = says ? policy_network_check(line, why) : NULL;

		wrong += what != NULL;
		if (says && !what && n < NETWORKS_MAX)
			nets[n++] = read_network(line);
		/* Anywhere between two lines the text can be cut in two. */
		if (choice > 0) {
			choice--;
			half = in.n - rest.n;
		}
	}
	t = build(&in, 1, &faults, &used);
	CHECK(faults == wrong);
	if (t && n < NETWORKS_MAX) {
		struct addr none = { 0 };

		check_edges(t, nets, n);
		check_address(t, NULL, 0, &none);
		halves[0] = span_from(in, half); /* in the other order too */
		halves[1] = span_of(in.p, half);
		if (halves[0].n < 3 || memcmp(halves[0].p, "\xef\xbb\xbf", 3) != 0) {
			t2 = build(halves, 2, &faults2, &used2);
			CHECK(t2 && used2 == used && memcmp(t, t2, used) == 0);
			free(t2);
		}
	}
	free(t);
	free(copy);
	return 0;
}
