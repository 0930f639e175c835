/*
 * internal/ownership/kernel_owned.go: a third status, stored under the lock on acquire. No
 * private state, so nothing that must change together with the status on
 * release, and no lock there.
 *
 * A slot that is being filled is not KERNEL, so no writer takes it, as long as
 * the reader leaves it alone. A legacy reader takes every status but KERNEL for
 * its own; a hostile one stores KERNEL to a slot that is being filled.
 *
 * Expected: holds with a lawful reader (one that opted in); a legacy reader sees
 * torn packets; with a hostile one a slot has two writers.
 */
#include "memory.pml"
#include "head.pml"

inline acquire()
{
	lock();
	slot = head;
	if
	:: closed -> v = NoRoom
	:: else ->
		d_step {	/* one load says both */
			st = status[slot];
			was_full = (st != KERNEL && slot == HEAD);
			was_busy = (filling[slot] > 0 && slot == HEAD)
		}
		if
		:: st == KERNEL ->
			status[slot] = KERNEL_OWNED;
			advance()
		:: st == KERNEL_OWNED -> v = Owned
		:: else -> v = Full
		fi
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
