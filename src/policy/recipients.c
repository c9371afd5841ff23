/* SPDX-License-Identifier: ISC */
/*
 * recipients: RECIPIENTS as an image: packed texts, and a hash table of their offsets.
 *
 *	header | entries: lengths, local part, domain … | buckets, 64 octets each
 *
 * A bucket is one cache line with room for 12 entries: an octet of the hash and an offset of each.
 * A lookup reads one bucket, nearly always, and then the entry that the octet points at; a full
 * bucket is continued in the next one, for as many as the longest such run in the table, which
 * bounds every lookup. The hash is keyed with the hash of the whole file, so that no stranger can
 * aim at a run. It only finds: a match is always a comparison of the texts.
 *
 * Every domain of any line has an entry of its own, with an empty local part: it tells whether an
 * `@domain` line is there, and that postmaster@domain is local (RFC 5321 4.5.1).
 *
 * Addresses compare as their octets are, but for ASCII case. A quoted local part equals only a
 * quoted one, octet by octet: `"u"@d` is the same mailbox as u@d to most destinations and not to
 * all, so a line with quotes is what lets it through (or an `@d` line, unless it carries routing).
 *
 * Refuses, by faults that name the line: no @, `*@`, empty parts, blanks, control characters, angle
 * brackets, characters that no path can hold unquoted, an address longer than a path can hold
 * (RFC 5321 4.5.3.1: 256 octets with its angle brackets).
 * The caller owns the memory; the image is read-only when built.
 */
#include "policy/recipients.h"

#include "base/addr.h"
#include "base/diag.h"
#include "base/siphash.h"
#include "policy/lines.h"

#define DOMAIN_MAX    255
#define ADDRESS_MAX   254 /* "local@domain" */
#define LOCAL_MAX     (ADDRESS_MAX - 2)
#define TEXT_MAX      ((size_t)1 << 30) /* offsets have 32 bits */
#define BUCKET_SLOTS  12
#define BUCKET_FILL   9	   /* entries for each bucket: three quarters */
#define DOMAIN_LISTED 0xff /* instead of the local part's length 0: an `@domain` line is there */

struct bucket {
	uint32_t offset[BUCKET_SLOTS]; /* of the entry, from the image's start; 0: free, so are the
					  rest */
	uint8_t tag[BUCKET_SLOTS];
	uint32_t reserved;
};

/* A hash table within the image, or beside it while it is built. */
struct table {
	uint32_t buckets;
	uint32_t longest; /* run of buckets that a lookup may need */
};

struct policy_recipients {
	struct siphash_key key;
	uint32_t count; /* lines, each once */
	uint32_t bucket_offset;
	struct table table;
};

/* An entry, its text folded to lower case: local part and domain without anything between. */
struct entry {
	const uint8_t *text;
	uint8_t local_length, domain_length;
};

#define ENTRY_HEAD 2
#define ENTRY_MAX  (LOCAL_MAX + DOMAIN_MAX)

static uint8_t *at(void *image, size_t offset)
{
	return (uint8_t *)image + offset;
}

/* The packed form: both lengths, the text. */
static struct entry entry_view(const uint8_t *packed)
{
	return (struct entry){ packed + ENTRY_HEAD, packed[0] == DOMAIN_LISTED ? 0 : packed[0],
			       packed[1] };
}

static size_t entry_text_size(const struct entry *e)
{
	return (size_t)e->local_length + e->domain_length;
}

/* LOCAL and DOMAIN fit; the text lies in BUF. */
static struct entry entry_fold(uint8_t buf[ENTRY_MAX], struct span local, struct span domain)
{
	for (size_t i = 0; i < local.n; i++)
		buf[i] = ascii_lower(local.p[i]);
	for (size_t i = 0; i < domain.n; i++)
		buf[local.n + i] = ascii_lower(domain.p[i]);
	return (struct entry){ buf, (uint8_t)local.n, (uint8_t)domain.n };
}

static uint64_t entry_hash(struct siphash_key key, const struct entry *e)
{
	return siphash(key, e->text, entry_text_size(e));
}

static uint32_t first_bucket(const struct table *t, uint64_t hash)
{
	return (uint32_t)((hash >> 32) * t->buckets >> 32);
}

static bool same_entry(const uint8_t *packed, const struct entry *e)
{
	struct entry other = entry_view(packed);

	return other.local_length == e->local_length && other.domain_length == e->domain_length &&
	       memcmp(other.text, e->text, entry_text_size(e)) == 0;
}

/* The packed entry equal to E in the table T whose buckets are at B, or NULL. */
static const uint8_t *find(const struct policy_recipients *image, const struct table *t,
			   const struct bucket *b, const struct entry *e)
{
	uint64_t hash = entry_hash(image->key, e);
	uint32_t at_bucket = first_bucket(t, hash);

	for (uint32_t run = 0; run < t->longest; run++) {
		const struct bucket *bucket = &b[at_bucket];

		for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
			if (bucket->offset[i] == 0)
				return NULL;
			if (bucket->tag[i] != (uint8_t)hash)
				continue;
			const uint8_t *packed = (const uint8_t *)image + bucket->offset[i];

			if (same_entry(packed, e))
				return packed;
		}
		at_bucket = at_bucket + 1 == t->buckets ? 0 : at_bucket + 1;
	}
	return NULL;
}

/* Enters the packed entry at OFFSET, unless an equal one is there. True when it is new. */
static bool enter(struct policy_recipients *image, struct table *t, struct bucket *b,
		  uint32_t offset)
{
	struct entry e = entry_view(at(image, offset));
	uint64_t hash = entry_hash(image->key, &e);
	uint32_t at_bucket = first_bucket(t, hash);

	for (uint32_t run = 1;; run++) {
		struct bucket *bucket = &b[at_bucket];

		CHECK(run <= t->buckets); /* the table has room for every entry */
		for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
			if (bucket->offset[i] == 0) {
				bucket->offset[i] = offset;
				bucket->tag[i] = (uint8_t)hash;
				if (run > t->longest)
					t->longest = run;
				return true;
			}
			if (bucket->tag[i] == (uint8_t)hash &&
			    same_entry(at(image, bucket->offset[i]), &e))
				return false;
		}
		at_bucket = at_bucket + 1 == t->buckets ? 0 : at_bucket + 1;
	}
}

/* ---- lines ---- */

static bool is_control(uint8_t c)
{
	return c < 0x20 || c == 0x7f;
}

static bool is_alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

/*
 * What a local part may hold without quotes: atext and dots (RFC 5321 4.1.2, with RFC 6531). A line
 * with anything else would stand for an address that no client can give, and all the same make its
 * domain one of ours, with its postmaster: two addresses of an alias map, say, joined by a colon.
 */
static bool is_local_octet(uint8_t c)
{
	return c >= 0x80 || is_alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~.", c));
}

static bool is_domain_octet(uint8_t c)
{
	return c >= 0x80 || is_alnum(c) || c == '-' || c == '_' || c == '.';
}

/* The length of the quoted string that LINE begins with, 0 when it is not well-formed. */
static size_t quoted_length(struct span line)
{
	for (size_t i = 1; i < line.n; i++) {
		if (line.p[i] == '"')
			return i + 1;
		if (line.p[i] == '\\')
			i++;
	}
	return 0;
}

/* What is wrong anywhere in a line, NULL: nothing. A blank stands only in a quoted local part. */
static const char *check_octets(struct span line)
{
	bool quoted = line.p[0] == '"';

	for (size_t i = 0; i < line.n; i++) {
		uint8_t c = line.p[i];

		if (is_control(c))
			return "control character, user@domain or @domain is needed";
		if (quoted)
			continue;
		if (c == '<' || c == '>')
			return "angle bracket, user@domain or @domain is needed without them";
		if (c == ' ')
			return "blank in an address, one user@domain or @domain a line is needed";
	}
	return NULL;
}

/* IPv4, or IPv6 behind its tag (RFC 5321 4.1.3). */
static bool is_literal(struct span d)
{
	struct span ip = span_of(d.p + 1, d.n - 2);
	bool six = span_starts_nocase(ip, SPAN("IPv6:"));
	char text[ADDR_TEXT_MAX];
	struct addr a;

	if (six)
		ip = span_from(ip, 5);
	if (ip.n >= sizeof(text))
		return false;
	memcpy(text, ip.p, ip.n);
	text[ip.n] = '\0';
	return addr_parse_ip(&a, text) == 0 && (memchr(text, ':', ip.n) != NULL) == six;
}

static const char *check_domain(struct span d)
{
	if (d.n == 0)
		return "empty domain, user@domain or @domain is needed";
	if (d.n > DOMAIN_MAX)
		return "domain too long, 255 octets are allowed";
	if (d.n > 2 && d.p[0] == '[' && d.p[d.n - 1] == ']')
		return is_literal(d) ? NULL
				     : "no address as a domain, [192.0.2.1] or "
				       "[IPv6:2001:db8::1] is needed";
	for (size_t i = 0; i < d.n; i++) {
		if (!is_domain_octet(d.p[i]))
			return "character that no domain can hold, letters, digits, '-', '_' and "
			       "'.' are allowed";
		if (d.p[i] == '.' && (i == 0 || i + 1 == d.n || d.p[i - 1] == '.'))
			return "empty label in the domain, each domain is named whole, subdomains too";
	}
	return NULL;
}

static const char *check_local(struct span local)
{
	if (local.n > LOCAL_MAX)
		return "local part too long, no path holds more than 252 octets of one";
	if (local.n && local.p[0] == '"')
		return NULL; /* well-formed: quoted_length() found its end */
	if (local.n == 1 && local.p[0] == '*')
		return "* is no wildcard, @domain stands for every user of the domain";
	for (size_t i = 0; i < local.n; i++)
		if (!is_local_octet(local.p[i]))
			return local.p[i] == ',' || local.p[i] == ';'
				       ? "comma or semicolon, which a local part can hold only in "
					 "quotes: one address a line is needed"
				       : "character that a local part can hold only in quotes";
	return NULL;
}

/* Splits LINE, which is not empty, and checks it. NULL or what is wrong. */
static const char *parse_line(struct span line, struct span *local, struct span *domain)
{
	const char *wrong = check_octets(line);
	const uint8_t *sign;

	if (wrong)
		return wrong;
	if (line.p[0] == '"') {
		size_t n = quoted_length(line);

		if (n == 0 || (n < line.n && line.p[n] != '@'))
			return "quoted local part that is not well-formed, \"user\"@domain is needed";
		sign = n < line.n ? line.p + n : NULL;
	} else {
		sign = memrchr(line.p, '@', line.n);
	}
	if (!sign)
		return "no @, user@domain or @domain is needed";
	*local = span_of(line.p, (size_t)(sign - line.p));
	*domain = span_from(line, local->n + 1);
	if (domain->n && domain->p[domain->n - 1] == '.')
		domain->n--;
	wrong = check_local(*local);
	if (!wrong)
		wrong = check_domain(*domain);
	if (!wrong && local->n && local->n + 1 + domain->n > ADDRESS_MAX)
		wrong = "address too long, no path holds more than 254 octets";
	return wrong;
}

/* ---- building ---- */

static uint32_t buckets_for(size_t entries)
{
	return (uint32_t)(entries / BUCKET_FILL + 1);
}

/* Where everything may lie at most, for TEXT. */
struct layout {
	size_t entries_end;
	size_t scratch; /* the table of domains while it is built */
	size_t room;
	uint32_t lines;
};

static size_t align64(size_t n)
{
	return (n + 63) & ~(size_t)63;
}

static struct layout layout_of(struct span text)
{
	struct layout l = { .lines = (uint32_t)lines_count(text) };

	/* Each line gives at most an entry and its domain's; both are no longer than the line. */
	l.entries_end = align64(sizeof(struct policy_recipients) + 2 * text.n +
				2 * (size_t)l.lines * ENTRY_HEAD);
	l.scratch = l.entries_end + buckets_for(2 * (size_t)l.lines) * sizeof(struct bucket);
	l.room = l.scratch + buckets_for(l.lines) * sizeof(struct bucket);
	return l;
}

size_t policy_recipients_room(struct span text)
{
	if (text.n > TEXT_MAX)
		return sizeof(struct policy_recipients);
	return layout_of(text).room;
}

struct builder {
	struct policy_recipients *image;
	uint32_t end; /* of the entries so far */
	uint32_t addresses, domains;
	struct table domain_table;
	struct bucket *domain_buckets;
};

/* Appends an entry behind the others; its offset. */
static uint32_t append(struct builder *b, const struct entry *e)
{
	uint32_t offset = b->end;
	uint8_t *packed = at(b->image, offset);

	packed[0] = e->local_length;
	packed[1] = e->domain_length;
	memcpy(packed + ENTRY_HEAD, e->text, entry_text_size(e));
	b->end += (uint32_t)(ENTRY_HEAD + entry_text_size(e));
	return offset;
}

/* The entry of DOMAIN itself, which is made at its first mention. */
static uint8_t *domain_entry(struct builder *b, struct span domain)
{
	uint8_t buf[ENTRY_MAX];
	struct entry e = entry_fold(buf, span_of(NULL, 0), domain);
	const uint8_t *known = find(b->image, &b->domain_table, b->domain_buckets, &e);

	if (known)
		return at(b->image, (size_t)(known - (const uint8_t *)b->image));
	uint32_t offset = append(b, &e);

	enter(b->image, &b->domain_table, b->domain_buckets, offset);
	b->domains++;
	return at(b->image, offset);
}

static void add_line(struct builder *b, struct span local, struct span domain)
{
	uint8_t buf[ENTRY_MAX];
	uint8_t *own = domain_entry(b, domain);

	if (local.n) {
		struct entry e = entry_fold(buf, local, domain);

		append(b, &e);
		b->addresses++;
	} else {
		b->image->count += own[0] != DOMAIN_LISTED;
		own[0] = DOMAIN_LISTED;
	}
}

/* Reads TEXT; false when there were faults. */
static bool read_lines(struct builder *b, struct span text, struct policy_faults *faults)
{
	struct lines l = { .rest = text };
	struct span line, local, domain;
	bool good = true;

	if (lines_bom(text)) {
		good = false;
		if (faults)
			faults->report(faults, 1, LINES_BOM_FAULT);
		l.rest = span_from(text, 3);
	}
	while (lines_next(&l, &line)) {
		const char *wrong = parse_line(line, &local, &domain);

		if (!wrong) {
			add_line(b, local, domain);
			continue;
		}
		good = false;
		if (faults)
			faults->report(faults, l.number, wrong);
	}
	return good;
}

/* Makes the table over all entries, behind them; the octets of the whole image. */
static size_t make_table(struct builder *b)
{
	struct policy_recipients *image = b->image;
	size_t offset = align64(b->end);
	struct bucket *buckets = (void *)at(image, offset);

	image->bucket_offset = (uint32_t)offset;
	image->table.buckets = buckets_for((size_t)b->addresses + b->domains);
	for (uint32_t i = sizeof(*image); i < b->end;) {
		struct entry e = entry_view(at(image, i));

		image->count += enter(image, &image->table, buckets, i) && e.local_length;
		i += (uint32_t)(ENTRY_HEAD + entry_text_size(&e));
	}
	return offset + image->table.buckets * sizeof(struct bucket);
}

size_t policy_recipients_build(void *mem, size_t room, struct span text,
			       struct policy_faults *faults)
{
	struct builder b = { .image = mem, .end = sizeof(struct policy_recipients) };

	if (text.n > TEXT_MAX) {
		if (faults)
			faults->report(faults, 1, "file too large, 1 GiB is allowed");
		return 0;
	}
	struct layout l = layout_of(text);

	CHECK(room >= l.room);
	for (unsigned i = 0; i < 2; i++)
		b.image->key.k[i] = siphash((struct siphash_key){ { i, 0 } }, text.p, text.n);
	b.domain_table.buckets = buckets_for(l.lines);
	b.domain_buckets = (void *)at(mem, l.scratch);
	if (!read_lines(&b, text, faults))
		return 0;
	CHECK(b.end <= l.entries_end);
	return make_table(&b);
}

/* ---- lookups ---- */

static const uint8_t *look_up(const struct policy_recipients *t, struct span local,
			      struct span domain)
{
	uint8_t buf[ENTRY_MAX];
	struct entry e = entry_fold(buf, local, domain);

	return find(t, &t->table, (const void *)((const uint8_t *)t + t->bucket_offset), &e);
}

/* LOCAL, which is not quoted and carries no routing, without what makes a bounce's address hard to
 * guess (BATV): "prvs=TAG=user" is user. */
static struct span without_tag(struct span local)
{
	size_t n = 5;

	if (!span_starts_nocase(local, SPAN("prvs=")))
		return local;
	while (n < local.n && is_alnum(local.p[n]))
		n++;
	if (n == 5 || n + 1 >= local.n || local.p[n] != '=')
		return local;
	return span_from(local, n + 1);
}

/* "user+anything" is user; what begins with a delimiter has no user before it. */
static struct span without_extension(struct span local, const char *delimiters)
{
	for (size_t i = 1; i < local.n; i++)
		if (local.p[i] && strchr(delimiters, local.p[i]))
			return span_of(local.p, i);
	return local;
}

/* The user that an address of a known domain stands for under RECIPIENT_DELIMITER. */
static const char *match_user(const struct policy_recipients *t, const struct policy_address *a,
			      const char *delimiters)
{
	const char *word = "bounce";
	struct span user = a->local;

	if (a->quoted || *delimiters == '\0')
		return NULL;
	if (a->bounce)
		user = without_tag(user);
	/* The user itself comes first here too: it may hold a delimiter. */
	if (user.n == a->local.n || !look_up(t, user, a->domain)) {
		struct span whole = user;

		user = without_extension(user, delimiters);
		if (whole.n == a->local.n)
			word = "extension";
	}
	if (user.n < a->local.n &&
	    (look_up(t, user, a->domain) || span_eq_nocase(user, SPAN("postmaster"))))
		return word;
	return NULL;
}

static bool can_be_listed(const struct policy_recipients *t, const struct policy_address *a)
{
	return t && a->local.n > 0 && a->local.n <= LOCAL_MAX && a->domain.n > 0 &&
	       a->domain.n <= DOMAIN_MAX;
}

static const char *match_word(const struct policy_recipients *t, const struct policy_address *a,
			      const char *delimiters)
{
	if (a->postmaster)
		return "postmaster";
	if (!can_be_listed(t, a))
		return NULL;
	if (look_up(t, a->local, a->domain))
		return "address";
	if (a->routed)
		return NULL;
	const uint8_t *domain = look_up(t, span_of(NULL, 0), a->domain);

	if (!domain)
		return NULL;
	if (domain[0] == DOMAIN_LISTED)
		return "domain";
	if (span_eq_nocase(a->local, SPAN("postmaster")))
		return "postmaster";
	return match_user(t, a, delimiters);
}

bool policy_recipients_match(const struct policy_recipients *t, const struct policy_address *a,
			     const char *delimiters, const char **which)
{
	const char *word = match_word(t, a, delimiters);

	if (word && which)
		*which = word;
	return word;
}

bool policy_recipients_domain(const struct policy_recipients *t, const struct policy_address *a)
{
	return can_be_listed(t, a) && look_up(t, span_of(NULL, 0), a->domain);
}

const char *policy_delimiter_check(const char *delimiters)
{
	if (strlen(delimiters) > POLICY_DELIMITERS_MAX)
		return "is too long, 16 characters are allowed";
	for (const char *c = delimiters; *c; c++) {
		if (strchr("%!@:\\", *c))
			return "%, !, @, : and \\ lead to another domain for some servers, and cannot "
			       "part a user from an extension";
		if (is_alnum((uint8_t)*c) || (uint8_t)*c >= 0x80 || !is_local_octet((uint8_t)*c))
			return "characters of a local part that are no letters or digits are "
			       "allowed, \"+\" or \"+-\" for example";
	}
	return NULL;
}

size_t policy_recipients_count(const struct policy_recipients *t)
{
	return t ? t->count : 0;
}
