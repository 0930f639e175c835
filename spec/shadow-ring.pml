/*
 * internal/ownership/shadow_ring.go, the patch set before the commit: a private word for each
 * slot that mirrors its state, instead of a bit.
 *
 * The argument is owner-map's: status and word change under one lock.
 *
 * Expected: every property holds, with any reader.
 */
#include "memory.pml"
#include "head.pml"

#define FREE 0
#define FILLED 1
byte shadow[SLOTS];

inline acquire()
{
	lock();
	look();
	if
	:: v == Acquired ->
		test_owned(shadow[slot] != FREE);
		if
		:: v == Acquired ->
			shadow[slot] = FILLED;
			advance()
		:: else
		fi
	:: else
	fi;
	unlock()
}

inline release(s)
{
	lock();
	store_user(s);
	shadow[s] = FREE;
	unlock()
}

#define REGISTERS
#define FORGET
#include "parties.pml"
