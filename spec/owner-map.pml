/*
 * internal/ownership/owner_map.go, Linux since 5.6.
 *
 * Acquire tests the head slot's status and its owner bit, sets the bit and
 * moves head on, all under the lock; release stores the status and clears the
 * bit under the lock again. Nobody who holds the lock sees one without the
 * other, and nobody else looks at the bit: a slot with its bit clear has no
 * writer, whatever the reader stored in its status.
 *
 * Expected: every property holds, with any reader.
 */
#include "memory.pml"
#include "head.pml"

bool owned[SLOTS];

inline acquire()
{
	lock();
	look();
	if
	:: v == Acquired ->
		test_owned(owned[slot]);
		if
		:: v == Acquired ->
			owned[slot] = true;
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
	owned[s] = false;
	unlock()
}

#define REGISTERS
#define FORGET
#include "parties.pml"
