/*
 * internal/ownership/unguarded.go, Linux before 5.6.
 *
 * A slot's status says all there is, and stays KERNEL until the copy is done: a
 * writer that wraps the ring meanwhile takes the slot a second time.
 *
 * Expected: two writers in one slot, and torn packets, with a lawful reader.
 */
#include "memory.pml"
#include "head.pml"

inline acquire()
{
	lock();
	look();
	if
	:: v == Acquired -> advance()
	:: else
	fi;
	unlock()
}

inline release(s)
{
	store_user(s)
}

#define REGISTERS
#define FORGET
#include "parties.pml"
