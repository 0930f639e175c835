/*
 * internal/ownership/release_after.go: no lock on release; the status is stored, then the
 * owner bit cleared.
 *
 * While the bit is set nobody else takes the slot: it never has two writers. But
 * acquire tests the status, then the bit, and release takes no lock, so both its
 * stores can fall between the two tests: the status was KERNEL, the bit is clear,
 * and the writer takes a slot whose packet the reader has yet to read, or reads
 * now. That packet is lost, or torn. This is the "more subtle" race of the commit.
 * OWNER_FIRST tests the bit before the status, and is safe.
 *
 * And between the two stores the reader may hand the slot back: it is free, looks
 * owned, and a packet is dropped for nothing, whatever the order of the tests.
 *
 * With PLAIN the bits of all slots share a word that is loaded and stored in two
 * steps. Two writers that change different bits at once lose one change: a lost
 * set leaves a slot without its owner, a lost clear leaves it owned for good. In
 * a ring of one slot there is no other bit to lose.
 *
 * Expected: packets lost and torn; with OWNER_FIRST neither, but drops for
 * nothing, which say Owned of a slot that is not. PLAIN with two slots, even so:
 * two writers in a slot, and a ring stuck for good.
 */
#include "memory.pml"
#include "head.pml"

byte owned;	/* a bit a slot */

#ifdef PLAIN
#define BIT_REGISTERS byte w;
#define BIT_FORGET w = 0;
inline set_bit(s)   { w = owned | (1 << s); owned = w }
inline clear_bit(s) {
	atomic { w = owned & ~(1 << s); printf("writer %d loads the owner bits, to clear that of slot %d\n", me, s) }
	atomic { owned = w; printf("writer %d stores the owner bits\n", me) }
}
#else
#define BIT_REGISTERS
#define BIT_FORGET
inline set_bit(s)   { owned = owned | (1 << s) }
inline clear_bit(s) { owned = owned & ~(1 << s) }
#endif

inline acquire()
{
	lock();
#ifdef OWNER_FIRST
	slot = head;
	v = Acquired;
	test_owned(owned & (1 << slot));
	if
	:: v == Acquired ->
		look();
		if
		:: v == Acquired ->
			set_bit(slot);
			advance()
		:: else
		fi
	:: else
	fi;
#else
	look();
	if
	:: v == Acquired ->
		test_owned(owned & (1 << slot));
		if
		:: v == Acquired ->
			set_bit(slot);
			advance()
		:: else
		fi
	:: else
	fi;
#endif
	unlock()
}

inline release(s)
{
	store_user(s);
	clear_bit(s)
}

#define REGISTERS BIT_REGISTERS
#define FORGET BIT_FORGET
#include "parties.pml"
