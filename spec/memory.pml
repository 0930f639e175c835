/*
 * What every model shares: the ring's memory, and the bookkeeping with which
 * the properties are stated. The second is a ghost: no party may act on it.
 *
 * A design's file includes this one, says how a writer acquires and releases,
 * and includes parties.pml, which has the writers, the reader and the end.
 */

#include "rules.pml"

#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef EXTRA
#define EXTRA 0		/* that writer 1 offers besides */
#endif
#define OFFERED (WRITERS * PACKETS + EXTRA)
#ifndef BATCH
#define BATCH 1		/* packets that a writer offers at once; see ticket.pml */
#endif

/* The memory that writers and the reader share. A packet is two halves, which
 * are copied one after the other: a torn one shows. */
byte status[SLOTS];
byte front[SLOTS];
byte back[SLOTS];

/* Ghost. A packet's number is its place in the order of acquisition, from 1:
 * so the packet that the reader sees n-th must be number n. */
byte accepted;		/* packets that got a slot */
byte dropped;
byte seen;		/* packets handed back by the reader */
byte filling[SLOTS];	/* writers between acquire and the store of USER */
byte finished;		/* writers that have finished */
bool probing;		/* the last writer tries every slot once more */

#define HEAD (accepted % SLOTS)		/* the slot that comes next, in truth */

/* A writer's registers while it acquires (macros of a design use them):
 *   slot, v    what Acquire returns
 *   id, n      ghost: the number of its first packet, and how many slots it got
 *   st         a status as loaded
 *   was_full   ghost: at the last look, slot was the head slot, and not KERNEL
 *   was_busy   ghost: at the last look, slot was the head slot, and being filled
 */

/* One load of slot's status. */
inline load_status(s)
{
	d_step {
		st = status[s];
		was_full = (st != KERNEL && s == HEAD)
	}
}

/* One load of a private word that says whether slot is owned, and the verdict
 * from it. */
inline test_owned(word)
{
	d_step {
		was_busy = (filling[slot] > 0 && slot == HEAD);
		was_full = (status[slot] != KERNEL && slot == HEAD);
		if
		:: word -> v = Owned
		:: else
		fi
	}
}

/* Ghost: k slots from slot on are the writer's. Part of the step that takes
 * them. */
inline took(k)
{
	v = Acquired;
	n = k;
	id = accepted + 1;
	filling[slot]++;
	printf("writer %d takes slot %d for packet %d\n", me, slot, id);
	check_one(filling[slot] == 1);
	if
	:: k > 1 ->
		filling[(slot + 1) % SLOTS]++;
		printf("writer %d takes slot %d for packet %d, by the same swap\n", me, (slot + 1) % SLOTS, id + 1);
		check_one(filling[(slot + 1) % SLOTS] == 1)
	:: else
	fi;
	accepted = accepted + k;
	check_laps(probing || accepted < 3 * SLOTS)
}

/* The store of a packet's final status: the slot is the reader's. */
inline store_user(s)
{
	d_step {
		status[s] = USER;
		filling[s]--;
		printf("writer %d stores USER to slot %d\n", me, s)
	}
}
