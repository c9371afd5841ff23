/* SPDX-License-Identifier: ISC */
/*
 * Where a destination loses its place in a message: after so many octets of a line, of a header or
 * of the whole, it takes the next octet for the beginning of a line. A dot there is an end of data
 * that nobody else sees, and commands come next.
 *
 * Which octet that is, only the destination knows. So the text has a dot before each line's end,
 *
 *   x . CR LF x . CR LF …    (in a header: blank . CR LF …)
 *
 * and whoever takes a dot for the first of its line has read an end. There are four places in
 * four octets where that can be, so there are four messages, each with one octet more in front. A
 * long line cannot hold the dot of its own end: there the dot is sent when all in front of it has
 * arrived, since who takes a line in pieces takes them as they were read.
 *
 * As with the ends of data, replies tell, and not the time: only who has read one message answers
 * the QUIT that is sent after its reply with 221. Where a place was lost, shorter messages tell
 * after how many octets.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/check_destination.h"
#include "smtp/offer.h"

#define KIB	    1024
#define MIB	    (1024 * KIB)
#define SHIFTS	    4
#define SEARCH_MAX  12
#define PIECE	    (8 * KIB)
#define LINE_FAR    (128 * KIB) /* at least so much is tried, whatever Caronte lets through */
#define HEADER_FAR  (2 * MIB)
#define LINE_MOST   (512 * KIB) /* more is not tried */
#define HEADER_MOST (16 * MIB)
#define SIZE_MOST   (64 * MIB)
#define SMALL_LINES 1100 /* each length up to this; RFC 5321 4.5.3.1.6 has 1000 */
#define SMALL_POWER 11	 /* and those about each power of two from this one on */
#define ABOUT	    4

_Static_assert(DESTINATION_PLACES == 1 + 1 + SEARCH_MAX + 1 + SEARCH_MAX + 2 * SHIFTS + SEARCH_MAX +
					     2 * SHIFTS + SEARCH_MAX,
	       "the number that is said");

enum outcome { KEPT, LOST, AWAY, UNKNOWN, UNTRIED };

struct place {
	const char *what; /* "a line", as the reports have it */
	enum smtp_hello_step hello;
	unsigned shifts;
	bool taken_is_kept; /* who gives it up refuses it */
	unsigned unit;	    /* octets; what follows are numbers of them */
	uint64_t ours;	    /* Caronte lets so much through */
	uint64_t far;	    /* so much is tried */
	void (*write)(struct destination_check *k, uint64_t amount, unsigned shift);
	const char *cure;
};

/* ---- what is sent ---- */

static void fill(struct destination_check *k, uint64_t amount)
{
	char x[16 * KIB];

	memset(x, 'x', sizeof(x));
	while (amount > 0) {
		size_t n = amount < sizeof(x) ? (size_t)amount : sizeof(x);

		if (!probe_send(&k->smtp, x, n))
			return;
		amount -= n;
	}
}

/* About AMOUNT octets of lines that have a dot behind their first octet. */
static void fill_lines(struct destination_check *k, char first, uint64_t amount)
{
	char lines[16 * KIB];

	for (size_t i = 0; i < sizeof(lines); i += 4) {
		lines[i] = first;
		memcpy(lines + i + 1, ".\r\n", 3);
	}
	amount -= amount % 4;
	while (amount > 0) {
		size_t n = amount < sizeof(lines) ? (size_t)amount : sizeof(lines);

		if (!probe_send(&k->smtp, lines, n))
			return;
		amount -= n;
	}
}

/*
 * AMOUNT is a number of lines, each a piece longer than the one before. Whoever puts a long line
 * away does so after the read that makes it too long, so that the last piece is read for itself,
 * and the dot too.
 */
static void write_long(struct destination_check *k, uint64_t amount, unsigned shift)
{
	(void)shift;
	probe_send(&k->smtp, "\r\n", 2);
	for (uint64_t i = 0; i < amount; i++) {
		fill(k, i * PIECE);
		if (!probe_settle(&k->smtp))
			break;
		fill(k, PIECE);
		probe_settle(&k->smtp);
		probe_send(&k->smtp, ".\r\n", 3);
		if (!probe_settle(&k->smtp) || probe_has_heard(&k->smtp))
			break;
	}
	probe_send(&k->smtp, "NOOP\r\n.\r\n", 9);
}

/* The length of the line of this number, from 0; 0: that is all, none is longer than MOST. */
static uint64_t line_length(uint64_t number, uint64_t most)
{
	uint64_t length = number + 1;

	if (number >= SMALL_LINES) {
		uint64_t about = number - SMALL_LINES;
		uint64_t power = SMALL_POWER + about / (2 * ABOUT + 1);

		if (power > 30)
			return 0;
		length = (UINT64_C(1) << power) + about % (2 * ABOUT + 1) - ABOUT;
	}
	return length <= most ? length : 0;
}

/* AMOUNT is a number of lines. */
static void write_lines(struct destination_check *k, uint64_t amount, unsigned shift)
{
	(void)shift;
	probe_send(&k->smtp, "\r\n", 2);
	for (uint64_t i = 0; i < amount; i++) {
		fill(k, line_length(i, LINE_MOST));
		probe_send(&k->smtp, ".\r\n", 3);
	}
	probe_send(&k->smtp, "NOOP\r\n.\r\n", 9);
}

static void write_header(struct destination_check *k, uint64_t amount, unsigned shift)
{
	probe_send(&k->smtp, "X-Shift: ", 9);
	fill(k, shift + 1);
	probe_send(&k->smtp, "\r\n", 2);
	fill_lines(k, ' ', amount);
	probe_send(&k->smtp, "\r\n\r\ntext\r\n.\r\n", 13);
}

static void write_body(struct destination_check *k, uint64_t amount, unsigned shift)
{
	probe_send(&k->smtp, "\r\n", 2);
	fill(k, shift + 1);
	probe_send(&k->smtp, "\r\n", 2);
	fill_lines(k, 'x', amount);
	probe_send(&k->smtp, "\r\n.\r\n", 5);
}

/* ---- what comes back ---- */

static enum outcome judge(struct destination_check *k, char *words)
{
	char next[DESTINATION_TEXT];
	unsigned answer = destination_hear(k, words);
	unsigned behind;

	if (answer == 0)
		return destination_is_gone(words) ? AWAY : UNKNOWN;
	probe_say(&k->smtp, "QUIT");
	behind = destination_hear(k, next);
	if (behind == 221)
		return KEPT;
	if (behind == 421)
		return AWAY;
	if (behind != 0)
		return LOST;
	return destination_is_gone(next) && answer / 100 != 2 ? AWAY : UNKNOWN;
}

/* WORDS are those of its reply to the message. */
static enum outcome try(struct destination_check *k, const struct place *p, uint64_t amount,
			unsigned shift, char *words)
{
	char head[KIB];
	enum outcome o = UNTRIED;
	size_t n;

	if (destination_begin(k, p->what, p->hello) &&
	    (n = destination_head(k, p->what, "\r\n", head, sizeof(head))) > 0) {
		probe_send(&k->smtp, head, n);
		p->write(k, amount, shift);
		o = judge(k, words);
	}
	probe_hang_up(&k->smtp);
	return o;
}

/* It keeps its place with LOW octets, loses it with HIGH: which is the smallest such HIGH? */
static uint64_t search(struct destination_check *k, const struct place *p, unsigned shift,
		       uint64_t *low, uint64_t high)
{
	char words[DESTINATION_TEXT];

	for (unsigned i = 0; i < SEARCH_MAX && high - *low > 1; i++) {
		uint64_t middle = *low + (high - *low) / 2;

		enum outcome o = try(k, p, middle, shift, words);

		if (o == LOST)
			high = middle;
		else if (o == UNTRIED)
			break;
		else
			*low = middle;
	}
	return high;
}

static void say_lost(struct destination_check *k, const struct place *p, unsigned shift, bool ours)
{
	uint64_t low = ours ? 0 : p->ours;
	uint64_t high = search(k, p, shift, &low, ours ? p->ours : p->far);
	char where[128];

	if (p->write == write_lines)
		snprintf(where, sizeof(where), "after %llu octets",
			 (unsigned long long)line_length(high - 1, LINE_MOST));
	else
		snprintf(where, sizeof(where), "after %llu to %llu octets",
			 (unsigned long long)low * p->unit, (unsigned long long)high * p->unit);
	if (ours)
		destination_warn(k, p->cure,
				 "it loses its place in %s %s: a dot there, in the middle of a "
				 "line, ends the message for it, and what follows are commands",
				 p->what, where);
	else
		destination_note(k,
				 "it loses its place in %s %s, of which Caronte gives it no more "
				 "than %llu: %s",
				 p->what, where, (unsigned long long)p->ours * p->unit, p->cure);
}

/* How it went when no place was lost. */
static void say_kept(struct destination_check *k, const struct place *p, enum outcome o,
		     const char *words)
{
	if (o == KEPT)
		destination_good(k, "it keeps its place in %s: %s", p->what, words);
	else if (o == AWAY && k->pipelining && p->hello == SMTP_HELLO_EHLO)
		destination_good(k, "it refuses %s, and goes away: %s", p->what, words);
	else if (o == AWAY) /* perhaps for what came behind an end that it saw */
		destination_note(k,
				 "it refuses %s, and goes away, so that whether it keeps its place "
				 "is not known: %s",
				 p->what, words);
	else
		destination_warn(k, NULL, "%s gets %s: whether it keeps its place is not known",
				 p->what, words);
}

static void check(struct destination_check *k, const struct place *p)
{
	char words[DESTINATION_TEXT] = "", at_ours[DESTINATION_TEXT];
	enum outcome worst = KEPT;
	int beyond = -1;

	for (unsigned shift = 0; shift < p->shifts; shift++) {
		enum outcome o = try(k, p, p->far, shift, words);

		if (o == LOST &&
		    (p->ours == p->far || try(k, p, p->ours, shift, at_ours) == LOST)) {
			say_lost(k, p, shift, true);
			return;
		}
		if (o == LOST)
			beyond = (int)shift;
		else if (o > worst)
			worst = o;
		if (o == UNTRIED)
			return;
		if (o == UNKNOWN || (o == KEPT && p->taken_is_kept && words[0] == '2'))
			break;
	}
	if (beyond >= 0)
		say_lost(k, p, (unsigned)beyond, false);
	else
		say_kept(k, p, worst, words);
}

/* ---- the places ---- */

/* What Caronte lets through, up to MOST; 0 stands for no limit. False: more than that, said. */
static bool bounded(struct destination_check *k, const char *what, uint64_t *ours, uint64_t most)
{
	if (*ours > 0 && *ours <= most)
		return true;
	destination_note(k, "%s as Caronte lets it through is tried up to %llu octets only", what,
			 (unsigned long long)most);
	*ours = most;
	return false;
}

static uint64_t at_least(uint64_t n, uint64_t least)
{
	return n > least ? n : least;
}

static void check_line(struct destination_check *k)
{
	struct place p = {
		.what = "a long line",
		.hello = SMTP_HELLO_EHLO,
		.shifts = 1,
		.unit = PIECE,
		.ours = (uint64_t)k->limits.line_kib * KIB,
		.write = write_long,
		.cure = "MAX_LINE_KIB of Caronte must stay below that",
	};
	uint64_t most, count = 0;

	p.far = bounded(k, p.what, &p.ours, LINE_MOST) ? at_least(2 * p.ours, LINE_FAR) : p.ours;
	most = p.ours;
	p.ours = (p.ours + PIECE - 1) / PIECE;
	p.far = (p.far + PIECE - 1) / PIECE;
	check(k, &p);
	while (line_length(count, most))
		count++;
	p.what = "lines of many lengths";
	p.write = write_lines;
	p.ours = p.far = count;
	p.cure = "MAX_LINE_KIB of Caronte must stay below that; where it cannot, this server must "
		 "not stand behind a proxy";
	if (!k->untried)
		check(k, &p);
}

static void check_header(struct destination_check *k)
{
	struct place p = {
		.what = "a big header",
		.hello = SMTP_HELLO_EHLO,
		.shifts = SHIFTS,
		.unit = 1,
		.ours = (uint64_t)k->limits.header_kib * KIB,
		.write = write_header,
		.cure = "MAX_HEADER_KIB of Caronte must stay below that, and below Exim's "
			"header_maxsize",
	};

	p.far = bounded(k, p.what, &p.ours, HEADER_MOST) ? at_least(2 * p.ours, HEADER_FAR)
							 : p.ours;
	check(k, &p);
}

/* HELO, since who says EHLO has been told a SIZE. CRs may not be counted: of dots and their lines
 * that is a quarter. */
static void check_size(struct destination_check *k)
{
	struct place p = {
		.what = "a big message",
		.hello = SMTP_HELLO_HELO,
		.shifts = SHIFTS,
		.unit = 1,
		.taken_is_kept = true,
		.ours = smtp_size_bound(k->size_max, (uint64_t)k->limits.message_mib * MIB),
		.write = write_body,
		.cure = "the SIZE that it announces must be its real limit (Postfix and Exim: "
			"message_size_limit), and MAX_MESSAGE_MIB of Caronte be less where it "
			"announces none",
	};

	p.far = bounded(k, p.what, &p.ours, SIZE_MOST) ? p.ours + p.ours / 2 + KIB : p.ours;
	check(k, &p);
}

void destination_check_places(struct destination_check *k)
{
	if (!k->untried)
		check_line(k);
	if (!k->untried)
		check_header(k);
	if (!k->untried)
		check_size(k);
	destination_note(k, "a spool that is full cannot be tried from here: see to it that it "
			    "refuses mail before (Exim: check_spool_space)");
}
