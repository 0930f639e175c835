/*
 * internal/writer/ticket.go: no lock.
 *
 * next is the ticket that comes next; a ticket names a lap and a slot. Each slot
 * has a private sequence word: the ticket that may have it. Acquire: the slot's
 * sequence equals the ticket, its status is KERNEL, and next moves on by
 * compare-and-swap. A swap that succeeds makes its writer the one holder of the
 * ticket; and from its load of the sequence on, nobody else can have changed
 * slot, sequence or status without moving next. Release: announce it (the
 * releasing bit), store the status, store the sequence of the next lap. Between
 * the last two the reader may hand the slot back, so a writer that finds the bit
 * looks again, a bounded number of times (WAIT).
 *
 * With BATCH=2 a writer takes up to two slots by one compare-and-swap: each
 * one's sequence equals its ticket and its status is KERNEL; the swap moves next
 * past all of them. The argument is the same for each ticket.
 *
 * Expected: every property holds, with any reader, but one: a writer preempted
 * between its release stores for the whole of another's bounded wait costs that
 * one's packet, which is then counted as Releasing, not as Full or Owned. With
 * WAIT_FOREVER not even that. SWAPPED stores the sequence before the status:
 * torn packets.
 */
#include "memory.pml"

#ifndef WAIT
#define WAIT 1		/* waitBound */
#endif

#define RELEASING 128	/* in a sequence word */
#define CLOSED 128	/* in next */

byte next;
#if SLOTS == 1
byte seq[SLOTS] = { 0 };
#else
byte seq[SLOTS] = { 0, 1 };
#endif
#define SLOT(t) ((t) % SLOTS)	/* the same as lap << shift | slot, for 1 and 2 slots */

/* One load of a slot's sequence. */
inline load_seq(t)
{
	d_step {
		sq = seq[SLOT(t)];
		was_busy = (filling[SLOT(t)] > 0 && SLOT(t) == HEAD)
	}
}

/* Each atomic below is one access to memory that others use, and what the
 * writer makes of it. */
inline acquire()
{
	do
	:: atomic {
		tk = next;
		if
		:: tk & CLOSED -> v = NoRoom; break
		:: else
		fi;
		slot = SLOT(tk)
	   }
	   load_seq(tk);
	   atomic {
		load_status(slot);
		n = (sq == tk && st == KERNEL -> 1 : 0)
	   }
#if BATCH > 1
	   if
	   :: n == 1 && left > 1 ->
		load_seq(tk + 1);
		atomic {
			load_status(SLOT(tk + 1));
			n = (sq == tk + 1 && st == KERNEL -> 2 : 1)
		}
	   :: else
	   fi;
#endif
	   if
	   :: atomic { n > 0 ->		/* compare and swap */
		if
		:: next == tk -> next = tk + n; took(n); break
		:: else			/* somebody else has this ticket */
		fi
	      }
	   :: atomic { n == 0 ->
		if
		:: next != tk		/* what we saw was of a ticket that is gone */
		:: else ->
			if
			:: st != KERNEL -> v = Full; break
			:: st == KERNEL && !(sq & RELEASING) -> v = Owned; break
#ifdef WAIT_FOREVER
			:: else
#else
			:: else ->
				if
				:: wait == WAIT -> v = Releasing; break
				:: else -> wait++
				fi
#endif
			fi
		fi
	      }
	   fi
#ifdef WAIT_FOREVER
	   ; (next != tk || seq[slot] != sq)	/* a look that would find the same is none */
#endif
	od
}

inline release(s)
{
	atomic {		/* nobody but the owner stores it: one access */
		tk = seq[s];
		seq[s] = tk | RELEASING;
		printf("writer %d is about to release slot %d\n", me, s)
	}
#ifdef SWAPPED
	atomic { seq[s] = tk + SLOTS; printf("writer %d stores the next lap's sequence to slot %d\n", me, s) }
	store_user(s)
#else
	store_user(s);
	atomic { seq[s] = tk + SLOTS; tk = 0; printf("writer %d stores the next lap's sequence to slot %d\n", me, s) }
#endif
}

inline close_ring() { next = next | CLOSED }	/* one atomic or */
#define TAKEN (next & ~CLOSED)

#define REGISTERS byte tk, sq, wait;
#define FORGET tk = 0; sq = 0; wait = 0;
#include "parties.pml"
