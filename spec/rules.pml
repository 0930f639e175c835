/*
 * What slots and blocks have in common: sizes, values, and the properties.
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef PACKETS
#define PACKETS 3	/* that each writer offers */
#endif
#ifndef STORES
#define STORES 4	/* that a hostile reader makes */
#endif

/* Values of a status word. */
#define KERNEL 0
#define USER 1
#define KERNEL_OWNED 2

/* ring.Verdict */
mtype = { Acquired, Full, Owned, Releasing, NoRoom };

/* The properties; a row of the table of verdicts names those it checks. */
#ifdef CHECK_one
#define check_one(e) assert(e)
#else
#define check_one(e) skip
#endif
#ifdef CHECK_whole
#define check_whole(e) assert(e)
#else
#define check_whole(e) skip
#endif
#ifdef CHECK_order
#define check_order(e) assert(e)
#else
#define check_order(e) skip
#endif
#ifdef CHECK_count
#define check_count(e) assert(e)
#else
#define check_count(e) skip
#endif
#ifdef CHECK_honest
#define check_honest(e) assert(e)
#else
#define check_honest(e) skip
#endif
#ifdef CHECK_needless
#define check_needless(e) assert(e)
#else
#define check_needless(e) skip
#endif
#ifdef CHECK_reusable
#define check_reusable(e) assert(e)
#else
#define check_reusable(e) skip
#endif
#ifdef CHECK_laps
#define check_laps(e) assert(e)
#else
#define check_laps(e) skip
#endif
