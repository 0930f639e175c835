/*
 * internal/ownership/slot_mark.go: the owner's mark sits in the slot's own padding.
 *
 * It is set and cleared under the lock as owner-map's bit is, and between lawful
 * parties as good. But it lies in shared memory: a value that the reader leaves
 * there, once, makes the slot look owned by a writer that does not exist, and
 * one that it clears lets a second writer in. The writer's own header store
 * must not touch it either: with PADDING_CLEARED the copy zeroes the padding,
 * as Linux's tpacket_rcv does for V2.
 *
 * Expected: holds with a lawful reader; with a hostile one the ring is stuck for
 * good, and a slot has two writers; with PADDING_CLEARED packets are torn.
 */
#include "memory.pml"
#include "head.pml"

#define MARK
bool mark[SLOTS];	/* shared memory */

inline acquire()
{
	lock();
	look();
	if
	:: v == Acquired ->
		test_owned(mark[slot]);
		if
		:: v == Acquired ->
			mark[slot] = true;
			advance()
		:: else
		fi
	:: else
	fi;
	unlock()
}

inline release(s)
{
#ifdef PADDING_CLEARED
	atomic { mark[s] = false; printf("writer %d stores the header of slot %d, padding and all\n", me, s) }
#endif
	lock();
	store_user(s);
	mark[s] = false;
	unlock()
}

#define REGISTERS
#define FORGET
#include "parties.pml"
