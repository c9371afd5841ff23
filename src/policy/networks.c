/* SPDX-License-Identifier: ISC */
/*
 * networks: such a setting as an image for longest-prefix match. The prefixes are flattened when
 * the image is built: the address space becomes consecutive ranges, each with the length of the
 * longest prefix over it. A lookup is one binary search (18 steps for 100,000 networks), and since
 * the prefix is the address cut to that length, it need not be stored, and neighbours with equal
 * lengths are one range.
 *
 * Refuses whatever could mean something else than it says: a host part ("10.0.0.1/8"), a leading
 * zero (octal to some), a zone, a netmask. The caller owns the memory; the image is read-only when
 * built. Fails by faults, reported for each line, and then builds nothing.
 * RFC 4632 (prefixes), RFC 4291 2.2 and 2.3 (IPv6 text, mapped addresses).
 */
#include "policy/networks.h"

#include <stdio.h>

#include "base/diag.h"
#include "policy/lines.h"

#define NO_PREFIX  0xff
#define DEPTH_MAX  129 /* prefixes that can enclose one another: /0 to /128 */
#define FAMILIES   2   /* [0] IPv4, [1] IPv6 */
#define ENTRY_TEXT 64  /* longer than any network's text */

typedef unsigned __int128 address_key; /* the address from its highest bit on */

/* A range from START to before the next one's. */
struct range {
	uint64_t start[2]; /* high, low */
	uint64_t length;   /* of the longest prefix over it, NO_PREFIX: none */
};

struct policy_networks {
	uint32_t count[FAMILIES];
	uint64_t reserved;
	struct range ranges[]; /* IPv4's, then IPv6's */
};

struct prefix {
	address_key start;
	uint8_t length;
	uint8_t family; /* 4, 6 */
};

static address_key key_of(const struct addr *a)
{
	address_key k = 0;

	for (size_t i = 0; i < sizeof(a->ip); i++)
		k = k << 8 | a->ip[i];
	return k;
}

/* The bits behind the first LENGTH. */
static address_key host_mask(unsigned length)
{
	return length >= 128 ? 0 : ~(address_key)0 >> length;
}

/* TEXT is an IPv4 address, or the IPv6 address whose end is one. */
static bool has_leading_zero(const char *text)
{
	const char *colon = strrchr(text, ':');
	const char *ip4 = colon ? colon + 1 : text;

	for (const char *p = ip4; *p; p++)
		if (*p == '0' && p[1] >= '0' && p[1] <= '9' && (p == ip4 || p[-1] == '.'))
			return true;
	return false;
}

static const char *parse_ip(struct addr *a, const char *text)
{
	if (strchr(text, '%'))
		return "a zone (%...) is not allowed, an IP address or network is needed";
	if (strchr(text, '.') && has_leading_zero(text))
		return "leading zero in an IPv4 address, its numbers are decimal, 0 to 255";
	if (addr_parse_ip(a, text) != 0)
		return "no IP address or network, like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32";
	return NULL;
}

/* TEXT behind the slash. True when it is a length up to MAX, without sign or leading zero. */
static bool parse_length(const char *text, unsigned max, unsigned *length)
{
	unsigned v = 0;
	size_t n = strlen(text);

	if (n < 1 || n > 3 || (n > 1 && text[0] == '0'))
		return false;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		v = v * 10 + (unsigned)(*p - '0');
	}
	*length = v;
	return v <= max;
}

/* "10.0.0.0/8" of the first LENGTH bits of KEY, the rest of which is zero. */
static void format_network(uint8_t family, address_key key, unsigned length, char *out, size_t cap)
{
	struct addr network = { .family = family };
	char ip[ADDR_TEXT_MAX];

	for (size_t i = sizeof(network.ip); i-- > 0; key >>= 8)
		network.ip[i] = (uint8_t)key;
	addr_format_ip(&network, ip);
	snprintf(out, cap, "%s/%u", ip, length);
}

/* The fault of P, which has a host part, into WHY: it says which network to write. */
static const char *host_part(const struct prefix *p, char why[POLICY_NETWORK_WHY])
{
	char network[ENTRY_TEXT];

	format_network(p->family, p->start & ~host_mask(p->length), p->length, network,
		       sizeof(network));
	snprintf(why, POLICY_NETWORK_WHY,
		 "the part behind the prefix length is not zero, write the network's own address: "
		 "%s",
		 network);
	return why;
}

/* One entry; NULL or what is wrong, perhaps in WHY. */
static const char *parse_prefix(struct span entry, struct prefix *out, char why[POLICY_NETWORK_WHY])
{
	char text[ENTRY_TEXT];
	struct addr a;

	if (memchr(entry.p, ' ', entry.n) || memchr(entry.p, '\t', entry.n))
		return "blank in a network, one address or network a line is needed";
	if (entry.n >= sizeof(text) || memchr(entry.p, '\0', entry.n))
		return "no IP address or network, like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32";
	memcpy(text, entry.p, entry.n);
	text[entry.n] = '\0';

	char *slash = strchr(text, '/');

	if (slash)
		*slash++ = '\0';
	const char *wrong = parse_ip(&a, text);

	if (wrong)
		return wrong;
	unsigned bits = a.family == 4 ? 32 : 128;
	bool mapped = a.family == 4 && strchr(text, ':');
	unsigned length = mapped ? 128 : bits;

	if (slash && !parse_length(slash, length, &length))
		return bits == 32 && !mapped ? "wrong prefix length, 0 to 32 is allowed"
					     : "wrong prefix length, 0 to 128 is allowed";
	if (mapped && length < 96)
		return "a mapped IPv4 network needs a prefix length of 96 to 128";
	if (mapped)
		length -= 96;
	*out = (struct prefix){ key_of(&a), (uint8_t)length, a.family };
	/* key_of() leaves zeros behind an IPv4 address, so that one mask serves both families. */
	if (out->start & host_mask(length))
		return host_part(out, why);
	return NULL;
}

const char *policy_network_check(struct span entry, char why[POLICY_NETWORK_WHY])
{
	struct prefix p;

	return parse_prefix(entry, &p, why);
}

static size_t entries_at_most(const struct span *texts, size_t n)
{
	size_t lines = 0;

	for (size_t i = 0; i < n; i++)
		lines += lines_count(texts[i]);
	return lines;
}

/* N prefixes begin and end at most 2 N ranges, beside the one that each family begins with. */
static size_t image_room(size_t n)
{
	size_t room = sizeof(struct policy_networks) + (2 * n + FAMILIES) * sizeof(struct range);

	return (room + 15) & ~(size_t)15;
}

size_t policy_networks_room(const struct span *texts, size_t n)
{
	size_t lines = entries_at_most(texts, n);

	/* Behind the image lie the prefixes while it is built, and room to sort them. */
	return image_room(lines) + 2 * lines * sizeof(struct prefix);
}

static bool prefix_before(const struct prefix *a, const struct prefix *b)
{
	if (a->family != b->family)
		return a->family < b->family;
	if (a->start != b->start)
		return a->start < b->start;
	return a->length < b->length;
}

static void merge(const struct prefix *a, size_t na, const struct prefix *b, size_t nb,
		  struct prefix *out)
{
	while (na && nb) {
		if (prefix_before(b, a)) {
			*out++ = *b++;
			nb--;
		} else {
			*out++ = *a++;
			na--;
		}
	}
	memcpy(out, a, na * sizeof(*a));
	memcpy(out + na, b, nb * sizeof(*b));
}

/* Merge sort, bottom up (qsort() may allocate). SPARE has room for N. Where the result lies. */
static struct prefix *sort_prefixes(struct prefix *p, struct prefix *spare, size_t n)
{
	for (size_t width = 1; width < n; width *= 2) {
		for (size_t i = 0; i < n; i += 2 * width) {
			size_t na = n - i < width ? n - i : width;
			size_t nb = n - i - na < width ? n - i - na : width;

			merge(p + i, na, p + i + na, nb, spare + i);
		}
		struct prefix *sorted = spare;

		spare = p;
		p = sorted;
	}
	return p;
}

/* The prefixes that enclose the place that has been reached, the longest last. */
struct flatten {
	struct range *out;
	uint32_t count;
	unsigned depth;
	const struct prefix *open[DEPTH_MAX];
};

static void begin_range(struct flatten *f, address_key start, unsigned length)
{
	uint64_t hi = (uint64_t)(start >> 64), lo = (uint64_t)start;

	/* One that ends where it began goes; one that goes on with the same length stays. */
	if (f->count && f->out[f->count - 1].start[0] == hi && f->out[f->count - 1].start[1] == lo)
		f->count--;
	if (f->count && f->out[f->count - 1].length == length)
		return;
	f->out[f->count++] = (struct range){ { hi, lo }, length };
}

/* Ends the innermost prefix: what encloses it goes on behind its last address. */
static void close_prefix(struct flatten *f)
{
	const struct prefix *p = f->open[--f->depth];
	address_key next = (p->start | host_mask(p->length)) + 1;

	if (next != 0) /* else it reaches to the end of all addresses */
		begin_range(f, next, f->depth ? f->open[f->depth - 1]->length : NO_PREFIX);
}

/* Flattens N sorted prefixes of one family into OUT; the number of ranges. */
static uint32_t flatten_prefixes(const struct prefix *p, size_t n, struct range *out)
{
	struct flatten f = { .out = out };

	begin_range(&f, 0, NO_PREFIX);
	for (; n; p++, n--) {
		while (f.depth) {
			const struct prefix *top = f.open[f.depth - 1];

			if (p->start <= (top->start | host_mask(top->length)))
				break;
			close_prefix(&f);
		}
		if (f.depth && f.open[f.depth - 1]->length == p->length)
			continue; /* the same again */
		CHECK(f.depth < DEPTH_MAX);
		f.open[f.depth++] = p;
		begin_range(&f, p->start, p->length);
	}
	while (f.depth)
		close_prefix(&f);
	return f.count;
}

static void fault(struct policy_faults *f, unsigned line, const char *what, bool *any)
{
	*any = true;
	if (f)
		f->report(f, line, what);
}

/* Reads one text's prefixes to OUT; their number. *ANY is set by a fault. */
static size_t read_prefixes(struct span text, struct policy_faults *faults, struct prefix *out,
			    bool *any)
{
	struct lines l = { .rest = text };
	char why[POLICY_NETWORK_WHY];
	struct span line;
	size_t n = 0;

	if (lines_bom(text)) {
		fault(faults, 1, LINES_BOM_FAULT, any);
		l.rest = span_from(text, 3);
	}
	while (lines_next(&l, &line)) {
		const char *wrong = parse_prefix(line, &out[n], why);

		if (wrong)
			fault(faults, l.number, wrong, any);
		else
			n++;
	}
	return n;
}

size_t policy_networks_build(void *mem, size_t room, const struct span *texts,
			     struct policy_faults **faults, size_t n)
{
	struct policy_networks *t = mem;
	size_t most = entries_at_most(texts, n), total = 0, of4 = 0;
	struct prefix *p = (void *)((uint8_t *)mem + image_room(most));
	bool any = false;

	CHECK(room >= policy_networks_room(texts, n));
	CHECK(most < UINT32_MAX / 2 - FAMILIES);
	for (size_t i = 0; i < n; i++)
		total += read_prefixes(texts[i], faults ? faults[i] : NULL, p + total, &any);
	if (any)
		return 0;
	p = sort_prefixes(p, p + most, total);
	while (of4 < total && p[of4].family == 4)
		of4++;
	t->count[0] = flatten_prefixes(p, of4, t->ranges);
	t->count[1] = flatten_prefixes(p + of4, total - of4, t->ranges + t->count[0]);
	return sizeof(*t) + ((size_t)t->count[0] + t->count[1]) * sizeof(struct range);
}

/* The length of the longest prefix over A, or NO_PREFIX. */
static unsigned longest_prefix(const struct policy_networks *t, const struct addr *a)
{
	if (a->family != 4 && a->family != 6)
		return NO_PREFIX;
	address_key key = key_of(a);
	uint64_t hi = (uint64_t)(key >> 64), lo = (uint64_t)key;
	const struct range *r = t->ranges + (a->family == 4 ? 0 : t->count[0]);
	size_t n = t->count[a->family == 4 ? 0 : 1];

	/* The last range that begins at or before the key: R always does, as the first begins at 0.
	 */
	while (n > 1) {
		const struct range *half = r + n / 2;

		if (half->start[0] < hi || (half->start[0] == hi && half->start[1] <= lo))
			r = half;
		n -= n / 2;
	}
	return (unsigned)r->length;
}

bool policy_networks_match(const struct policy_networks *t, const struct addr *a)
{
	return t && longest_prefix(t, a) != NO_PREFIX;
}

bool policy_networks_everybody(const struct policy_networks *t)
{
	const struct range *r = t ? t->ranges : NULL;

	for (unsigned family = 0; t && family < FAMILIES; family++) {
		bool all = true;

		for (uint32_t i = 0; i < t->count[family]; i++, r++)
			all = all && r->length != NO_PREFIX;
		if (all)
			return true;
	}
	return false;
}

static int compare_starts(const struct range *a, const struct range *b)
{
	if (a->start[0] != b->start[0])
		return a->start[0] < b->start[0] ? -1 : 1;
	return a->start[1] < b->start[1] ? -1 : a->start[1] > b->start[1];
}

/* Of one family: both lists begin at its first address. */
static bool ranges_meet(const struct range *a, size_t na, const struct range *b, size_t nb)
{
	for (;;) {
		int next;

		if (a->length != NO_PREFIX && b->length != NO_PREFIX)
			return true;
		if (na == 1 && nb == 1)
			return false;
		next = na == 1 ? 1 : nb == 1 ? -1 : compare_starts(a + 1, b + 1);
		if (next <= 0) {
			a++;
			na--;
		}
		if (next >= 0) {
			b++;
			nb--;
		}
	}
}

bool policy_networks_meet(const struct policy_networks *a, const struct policy_networks *b)
{
	if (!a || !b)
		return false;
	return ranges_meet(a->ranges, a->count[0], b->ranges, b->count[0]) ||
	       ranges_meet(a->ranges + a->count[0], a->count[1], b->ranges + b->count[0],
			   b->count[1]);
}

bool policy_networks_explain(const struct policy_networks *t, const struct addr *a, char *out,
			     size_t cap)
{
	unsigned length = t ? longest_prefix(t, a) : NO_PREFIX;

	if (length == NO_PREFIX)
		return false;
	format_network(a->family, key_of(a) & ~host_mask(length), length, out, cap);
	return true;
}
