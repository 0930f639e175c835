/*
 * internal/ownership/release_before.go: no lock on release; the owner bit is cleared, then the
 * status stored.
 *
 * Between the two the slot is unowned and still KERNEL. A writer that wraps the
 * ring takes it then, and the first one's status store shows the reader the
 * second one's half-written packet.
 *
 * Expected: two writers in one slot, and torn packets, with a lawful reader.
 */
#include "memory.pml"
#include "head.pml"

bool owned[SLOTS];	/* atomic bits */

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
	atomic { owned[s] = false; printf("writer %d clears the owner bit of slot %d\n", me, s) }
	store_user(s)
}

#define REGISTERS
#define FORGET
#include "parties.pml"
