/* SPDX-License-Identifier: ISC */
/*
 * eod_avx2: the automaton of eod.c over 64 octets at a time, without a branch for each line. Each
 * kind of octet gives a mask of 64 bits; "the octet before was a CR" is that mask shifted by one,
 * with the bit that falls out carried into the next block. A state of the automaton is exactly one
 * set of carried bits, so that there are no special cases at the edges of a block, and no input is
 * slow. Up to the first event the masks say what the automaton says; later bits mean nothing.
 *
 * Most lines begin with an octet that can begin neither an end of data nor a MAIL command. A block
 * without any other is done with after one look; the rest of the masks is for the others.
 *
 * Reads only whole blocks inside the span; what is left over goes through the plain version.
 */
#include "smtp/eod_inner.h"

#ifdef __x86_64__
#include <immintrin.h>

#define BLOCK 64

/* What the octet before the block was; `dot_cr` implies `cr`. None set: text. `lead`: what begins
 * the block still is at the start of a line for the gate, after blanks and dots. */
struct carry {
	uint64_t cr, start, dot, dot_cr, lead;
	size_t column; /* octets of the line before the block */
};

static struct carry carry_of(const struct smtp_eod *eod)
{
	return (struct carry){
		.cr = eod->state == SMTP_EOD_CR || eod->state == SMTP_EOD_DOT_CR,
		.start = eod->state == SMTP_EOD_LINE_START,
		.dot = eod->state == SMTP_EOD_DOT,
		.dot_cr = eod->state == SMTP_EOD_DOT_CR,
		.lead = eod->gate.at == SMTP_GATE_START,
		.column = eod->gate.column,
	};
}

/* The state that bit AT of the masks in C stands for. */
static enum smtp_eod_state state_of(const struct carry *c, unsigned at)
{
	if (c->dot_cr >> at & 1)
		return SMTP_EOD_DOT_CR;
	if (c->cr >> at & 1)
		return SMTP_EOD_CR;
	if (c->dot >> at & 1)
		return SMTP_EOD_DOT;
	return c->start >> at & 1 ? SMTP_EOD_LINE_START : SMTP_EOD_TEXT;
}

struct block {
	__m256i lo, hi;
};

__attribute__((target("avx2"))) static inline struct block block_at(const uint8_t *p)
{
	return (struct block){
		_mm256_loadu_si256((const __m256i *)(const void *)p),
		_mm256_loadu_si256((const __m256i *)(const void *)(p + 32)),
	};
}

__attribute__((target("avx2"))) static inline uint64_t join(__m256i lo, __m256i hi)
{
	return (uint64_t)(uint32_t)_mm256_movemask_epi8(hi) << 32 |
	       (uint32_t)_mm256_movemask_epi8(lo);
}

__attribute__((target("avx2"))) static inline uint64_t mask_of(struct block b, char c)
{
	__m256i want = _mm256_set1_epi8(c);

	return join(_mm256_cmpeq_epi8(b.lo, want), _mm256_cmpeq_epi8(b.hi, want));
}

__attribute__((target("avx2"))) static inline bool has_nul(struct block b)
{
	__m256i least = _mm256_min_epu8(b.lo, b.hi);

	return _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_setzero_si256())) != 0;
}

/* Octets in lower case, and some others changed. */
__attribute__((target("avx2"))) static inline __m256i lower(__m256i octets)
{
	return _mm256_or_si256(octets, _mm256_set1_epi8(0x20));
}

/* The octets of which lower() makes what KNOWN has at the place of its lower half. */
__attribute__((target("avx2"))) static inline uint64_t class_of(struct block b, __m128i known)
{
	__m256i table = _mm256_broadcastsi128_si256(known);
	__m256i lo = lower(b.lo), hi = lower(b.hi);

	return join(_mm256_cmpeq_epi8(lo, _mm256_shuffle_epi8(table, lo)),
		    _mm256_cmpeq_epi8(hi, _mm256_shuffle_epi8(table, hi)));
}

/* Blanks, dots, and a few that are taken for such at first; with M: letters M, too. */
#define SKIPPED(m)                                                                                 \
	_mm_setr_epi8(' ', -1, -1, -1, -1, -1, -1, -1, -1, '\t' | 0x20, -1, '\v' | 0x20,           \
		      '\f' | 0x20, m, '.', -1)

/* The letter A: the second of MAIL, as far as the block has it. */
#define LETTER_A _mm_setr_epi8(-1, 'a', -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1)

/* Where the line of the octet at P + AT begins, as far as that is not before P. */
static size_t line_of(const uint8_t *p, size_t at)
{
	while (at > 0 && p[at - 1] != '\n')
		at--;
	return at;
}

/* What is found in a block: at which octet, and which result. */
struct found {
	unsigned at;
	enum smtp_eod_result result;
	size_t line; /* GATE: where it begins, counted from the first octet of all */
	bool far;    /* … which is no line's start */
};

/* Letters M and A at which a command may begin. */
struct verbs {
	uint64_t all, near; /* near: the first of a line, behind blanks and dots */
};

/* The octets at P + I, up to N, from those at P on; the gate was in the state ENTRY there. */
struct octets {
	const uint8_t *p;
	size_t n, i;
	struct smtp_gate entry;
};

/* True: the line of the letter M at AT begins like a MAIL command. */
static bool is_mail(const struct octets *o, size_t line, size_t at)
{
	struct smtp_gate g = line ? (struct smtp_gate){ 0 } : o->entry;
	bool shut = false;

	for (size_t i = line; i <= at; i++)
		(void)smtp_gate_step(&g, o->p[i]);
	(void)smtp_gate_run(&g, o->p + at + 1, o->n - at - 1, &shut);
	return shut;
}

/* Which of the three is first in a block: EVENT has its ends of data, END, and bare newlines, and
 * VERBS each MA that may begin a command. False: none. */
static __attribute__((noinline)) bool look(const struct octets *o, uint64_t event, uint64_t end,
					   struct verbs verbs, struct found *found)
{
	for (; verbs.all; verbs.all &= verbs.all - 1) {
		unsigned at = (unsigned)__builtin_ctzll(verbs.all);
		bool far = !(verbs.near >> at & 1);
		size_t place = o->i + at, line = far ? place : line_of(o->p, place);

		if (event && at >= (unsigned)__builtin_ctzll(event))
			break;
		if (far ? smtp_gate_is_mail(o->p + place, o->n - place) : is_mail(o, line, place)) {
			*found = (struct found){ at, SMTP_EOD_GATE, line, far };
			return true;
		}
	}
	if (!event)
		return false;
	found->at = (unsigned)__builtin_ctzll(event);
	found->result = end >> found->at & 1 ? SMTP_EOD_END : SMTP_EOD_BARE;
	return true;
}

/* Stops before the line that began at P + LINE, or the word that stands there; nothing has changed
 * if that was before P. */
static size_t stop_at_line(size_t line, bool far, struct smtp_eod *eod)
{
	if (line)
		*eod = far ? smtp_eod_far : (struct smtp_eod){ .state = SMTP_EOD_LINE_START };
	return line;
}

static size_t stop(const struct octets *o, const struct found *f, const struct carry *before,
		   struct smtp_eod *eod)
{
	switch (f->result) {
	case SMTP_EOD_GATE:
		return stop_at_line(f->line, f->far, eod);
	case SMTP_EOD_END:
		eod->state = SMTP_EOD_LINE_START;
		return o->i + f->at + 1;
	default:
		eod->state = state_of(before, f->at);
		smtp_gate_skip(&eod->gate, o->p, o->i + f->at);
		return o->i + f->at;
	}
}

/* The column behind a block with the line feeds LF. */
static inline size_t next_column(size_t column, uint64_t lf)
{
	return lf ? (size_t)__builtin_clzll(lf) : column + BLOCK;
}

/* Passes the blocks from P + I on in which nothing can begin or end; IN has no dot and no lead.
 * COUNTED: a dot alone can, and the column is nobody's. */
__attribute__((target("avx2"), always_inline)) static inline size_t
pass_quiet(const uint8_t *p, size_t n, size_t i, struct carry *in, bool counted)
{
	uint64_t cr_in = in->cr, start_in = in->start;
	size_t column = in->column;

	for (; n - i >= BLOCK && (counted || column + BLOCK < SMTP_GATE_FAR); i += BLOCK) {
		struct block b = block_at(p + i);
		uint64_t cr = mask_of(b, '\r'), lf = mask_of(b, '\n');
		uint64_t start = lf << 1 | start_in, bad = lf ^ (cr << 1 | cr_in);
		uint64_t heads = counted ? mask_of(b, '.') : class_of(b, SKIPPED('m'));

		if (__builtin_expect((bad | (heads & start)) != 0, 0) || has_nul(b))
			break;
		cr_in = cr >> 63;
		start_in = lf >> 63;
		if (!counted)
			column = next_column(column, lf);
	}
	*in = (struct carry){ .cr = cr_in, .start = start_in, .column = column };
	return i;
}

/* What the automaton sees in a block. */
struct marks {
	uint64_t dot, bad, end; /* dots that begin a line, bare newlines, ends of data */
};

/* IN is what stands before the block, and then what stands before the next one, but for `lead`;
 * BEFORE gets what stands before each octet. */
__attribute__((target("avx2"))) static inline struct marks
marks_of(struct block b, struct carry *in, struct carry *before)
{
	uint64_t cr = mask_of(b, '\r'), lf = mask_of(b, '\n'), dot_cr;
	struct marks m;

	before->cr = cr << 1 | in->cr;
	before->start = lf << 1 | in->start;
	m.dot = mask_of(b, '.') & before->start;
	before->dot = m.dot << 1 | in->dot;
	dot_cr = cr & before->dot;
	before->dot_cr = dot_cr << 1 | in->dot_cr;
	m.bad = mask_of(b, '\0') | (lf ^ before->cr);
	m.end = lf & before->dot_cr;
	*in = (struct carry){ cr >> 63,	    lf >> 63, m.dot >> 63,
			      dot_cr >> 63, in->lead, next_column(in->column, lf) };
	return m;
}

/* The octets of a block far behind the start of the line that it begins in, COLUMN octets before
 * it. STARTS: octets behind a line feed. */
static uint64_t far_octets(size_t column, uint64_t starts)
{
	size_t left = column < SMTP_GATE_FAR - 1 ? SMTP_GATE_FAR - 1 - column : 0;
	uint64_t far = left < BLOCK ? UINT64_MAX << left : 0;

	return starts ? far & ((starts & -starts) - 1) : far;
}

/* The block at O->i. False: nothing in it ends the run, and IN is what follows it. */
__attribute__((target("avx2"), noinline)) static bool
ends_run(const struct octets *o, struct carry *in, struct carry *before, struct found *found)
{
	struct block b = block_at(o->p + o->i);
	size_t column = in->column;
	struct marks m = marks_of(b, in, before);
	uint64_t skipped = class_of(b, SKIPPED(-1)), start = before->start | in->lead;
	uint64_t far = far_octets(column, mask_of(b, '\n')), letters;
	struct verbs verbs;
	unsigned long long after;

	/* The sum carries a start over what is skipped after it. */
	in->lead = __builtin_uaddll_overflow(start & skipped, skipped, &after);
	letters = class_of(b, SKIPPED('m')) & ~skipped;
	letters &= class_of(b, LETTER_A) >> 1 | UINT64_C(1) << 63;
	verbs = (struct verbs){ (after | start | far) & letters, (after | start) & letters };
	return (m.bad | m.end | verbs.all) && look(o, m.bad | m.end, m.end, verbs, found);
}

/* The same of a counted body: DOTS gets the dots that begin a line, and has room for a block. */
__attribute__((target("avx2"), noinline)) static bool
ends_counted(const struct octets *o, struct carry *in, struct carry *before, struct smtp_dots *dots,
	     struct found *found)
{
	struct marks m = marks_of(block_at(o->p + o->i), in, before);
	uint64_t event = m.bad | m.end, noted = m.dot;

	if (event) /* what stands after the first of them belongs to nobody's body */
		noted &= (event & -event) - 1;
	for (; noted; noted &= noted - 1)
		dots->at[dots->n++] = (uint32_t)(o->i + (unsigned)__builtin_ctzll(noted));
	return look(o, event, m.end, (struct verbs){ 0 }, found);
}

/* The blocks of a counted body. */
__attribute__((target("avx2"))) static size_t run_counted(const uint8_t *p, size_t n,
							  struct smtp_eod *eod,
							  struct smtp_dots *dots,
							  enum smtp_eod_result *result)
{
	struct octets o = { .p = p, .n = n };
	struct carry in = carry_of(eod), before = { 0 };
	struct found f;

	*result = SMTP_EOD_MORE;
	in.lead = 0;
	while (n - o.i >= BLOCK) {
		if (!(in.dot | in.dot_cr))
			o.i = pass_quiet(p, n, o.i, &in, true);
		if (n - o.i < BLOCK || dots->n > SMTP_DOTS_MAX - BLOCK)
			break;
		if (ends_counted(&o, &in, &before, dots, &f)) {
			*result = f.result;
			return stop(&o, &f, &before, eod);
		}
		o.i += BLOCK;
	}
	eod->state = state_of(&in, 0);
	return o.i;
}

/* The blocks of a run that begins while the gate is not busy. */
__attribute__((target("avx2"))) static size_t
run_blocks(const uint8_t *p, size_t n, struct smtp_eod *eod, enum smtp_eod_result *result)
{
	struct octets o = { p, n, 0, eod->gate };
	struct carry in = carry_of(eod), before = { 0 };
	struct found f;

	while (n - o.i >= BLOCK) {
		if (!(in.dot | in.dot_cr | in.lead))
			o.i = pass_quiet(p, n, o.i, &in, false);
		if (n - o.i < BLOCK)
			break;
		if (ends_run(&o, &in, &before, &f)) {
			*result = f.result;
			return stop(&o, &f, &before, eod);
		}
		o.i += BLOCK;
	}
	*result = SMTP_EOD_MORE;
	eod->state = state_of(&in, 0);
	smtp_gate_skip(&eod->gate, p, o.i);
	return o.i;
}

/* Stops before the MAIL command that began at P + AT or before it, or its line. EOD is the state at
 * P. */
static size_t stop_at_mail(const uint8_t *p, size_t n, size_t at, struct smtp_eod *eod)
{
	size_t line = line_of(p, at), lead = line;

	while (at > line && !smtp_gate_is_mail(p + at, n - at))
		at--;
	while (lead < at && (smtp_gate_blank(p[lead]) || p[lead] == '.'))
		lead++;
	/* Its first word may stand before P, or be the first of the line. */
	if (!smtp_gate_is_mail(p + at, n - at) ||
	    (lead == at && (line > 0 || eod->gate.at == SMTP_GATE_START)))
		return stop_at_line(line, false, eod);
	return stop_at_line(at, true, eod);
}

/* How many octets go through the plain version first: those that the gate is busy with. */
static size_t first_octets(const uint8_t *p, size_t n, struct smtp_gate gate)
{
	bool shut;
	size_t busy = smtp_gate_run(&gate, p, n, &shut);

	return busy + (shut ? 1 : 0);
}

/* A counted body has no gate; what is left over goes through the plain version, which notes the
 * places of dots from where it begins. */
static size_t counted(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
		      enum smtp_eod_result *result)
{
	size_t blocks = run_counted(p, n, eod, dots, result), passed;
	unsigned noted = dots->n;

	if (*result != SMTP_EOD_MORE || n - blocks >= BLOCK)
		return blocks;
	passed = smtp_eod_run_plain(p + blocks, n - blocks, eod, dots, result);
	for (unsigned i = noted; i < dots->n; i++)
		dots->at[i] += (uint32_t)blocks;
	return blocks + passed;
}

size_t smtp_eod_run_avx2(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
			 enum smtp_eod_result *result)
{
	if (dots)
		return counted(p, n, eod, dots, result);

	size_t first = first_octets(p, n, eod->gate), blocks, passed;
	struct smtp_eod entry;

	if (first) {
		passed = smtp_eod_run_plain(p, first, eod, NULL, result);
		if (*result != SMTP_EOD_MORE || first == n)
			return passed;
	}
	p += first;
	n -= first;
	entry = *eod;
	blocks = run_blocks(p, n, eod, result);
	if (*result != SMTP_EOD_MORE || blocks == n)
		return first + blocks;
	passed = smtp_eod_run_plain(p + blocks, n - blocks, eod, NULL, result);
	if (*result == SMTP_EOD_GATE && passed == 0) { /* it began in the blocks, or before them */
		*eod = entry;
		return first + stop_at_mail(p, n, blocks, eod);
	}
	return first + blocks + passed;
}

#else /* another processor: smtp_eod_fast() is false, and this is only there to link */

size_t smtp_eod_run_avx2(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
			 enum smtp_eod_result *result)
{
	return smtp_eod_run_plain(p, n, eod, dots, result);
}

#endif
