/*
 * internal/ownership/tail.go: owner-map with its bits behind the vector that says where each
 * slot lies, so that a ring needs one allocation less.
 *
 * The argument is owner-map's: the same steps under the same lock. The bits have
 * a word of their own behind the vector, and only the lock's holder touches it.
 *
 * Expected: every property holds, with any reader.
 */
#include "memory.pml"
#include "head.pml"

byte vector[SLOTS + 1];	/* each slot's place, then a word of owner bits */
#define BITS vector[SLOTS]

inline acquire()
{
	lock();
	look();
	if
	:: v == Acquired ->
		test_owned(BITS & (1 << slot));
		if
		:: v == Acquired ->
			BITS = BITS | (1 << slot);
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
	BITS = BITS & ~(1 << s);
	unlock()
}

#define REGISTERS
#define FORGET
#include "parties.pml"
