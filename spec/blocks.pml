/*
 * internal/writer/blocks.go: the blocks of TPACKET_V3.
 *
 * A block has PLACES; a packet takes one or two of them. The open word names the
 * open block (by a number that counts on), and says how many places of it are
 * taken, by how many packets. Acquire moves it on by compare-and-swap. Each
 * block has a private state, which counts the places that are complete, and says
 * whether it is retired and whether it is being released. Whoever finds that the
 * packet does not fit retires the block under the lock, having stored before
 * where its packets end, and opens the next. The block is handed over by the last
 * who knows it: the one who retires it, or the last writer in it. That is: say
 * that it comes, store the status, clear the state. A block is opened when its
 * state is clear and its status is not USER.
 *
 * Expected: every property holds, with any reader, but `needless`: as with
 * ticket, a party that is preempted between the two last stores for the whole of
 * another's bounded wait costs that one's packet. STATUS_ONLY opens a block by
 * its status: the commit's race. SWAPPED clears the state before it stores the
 * status. SEAL_LAST retires before it says where the packets end.
 *
 * With STALLED writer 1 stops for good in the middle of a copy; nobody else may
 * stop for that (`ends`). With RETIRER_WAITS the retirer waits, lock in hand,
 * until the writers in the block are done, and hands it over itself, as Linux
 * does: safe, and nobody needs a private state then; but everybody waits for the
 * slowest copy.
 */
#include "rules.pml"

#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef PLACES
#define PLACES 2
#endif
#ifndef EXPIRES
#define EXPIRES 0	/* of the timer */
#endif
#ifndef WAIT
#define WAIT 1		/* waitBound */
#endif
#define OFFERED (WRITERS * PACKETS)

#ifdef READER_hostile
#define READER_ORDERLY false
#elif defined(READER_stopped)
#define READER_ORDERLY false
#else
#define READER_ORDERLY true
#endif

/* The memory that writers and the reader share. A packet's two halves and its
 * length lie in its first place. */
byte status[BLOCKS];
byte num_pkts[BLOCKS];
byte front[BLOCKS * PLACES];
byte back[BLOCKS * PLACES];
byte length[BLOCKS * PLACES];
#define AT(b, place) ((b) * PLACES + (place))

/* The open word. */
byte number;
byte taken;
byte packets;
#define SHUT 250	/* values of taken: the block is yet to be opened */
#define MOVING 251
#define CLOSED 252

/* A block's private words: its state, of which complete is part; and its seal. */
#define RETIRED 64
#define RELEASING 128
byte state[BLOCKS];
byte complete[BLOCKS];
byte seal_end[BLOCKS];
byte seal_packets[BLOCKS];

/* Under the lock. */
bool locked;
byte captured;		/* in the blocks before the open one */

inline lock() { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

/* Ghost. A packet's number is its place in the order of acquisition, from 1. */
byte accepted;
byte dropped;
byte seen;
byte opened;		/* blocks, so far */
bool retired;		/* the latest of them */
byte fill[BLOCKS];	/* places given away in this life */
byte inside[BLOCKS];	/* writers from acquire until they are done with the block */
byte filling[BLOCKS];	/* those of them in mid-copy */
byte held[BLOCKS * PLACES];
bool handed[BLOCKS];	/* it is the lawful reader's */
byte finished;
byte expired;
bool probing;

#define LAST ((opened + BLOCKS - 1) % BLOCKS)	/* the block opened last, in truth */
#define NEXT (opened % BLOCKS)			/* the one to be opened next */
#define FITS (!retired && fill[LAST] + size <= PLACES)

mtype = { Again };
#define TIMER 200	/* for me */

inline load_open() { d_step { no = number; tk = taken; pk = packets } }

/* Blocks.openable */
inline openable(b)
{
	wait = 0;
	do
	:: d_step {
		lf = state[b] | complete[b];
		was_busy = (inside[b] > 0 && b == NEXT && !FITS)
	   }
	   atomic {
		was_full = (status[b] == USER && b == NEXT && !FITS);
		if
		:: status[b] == USER -> v = Full; break
#ifdef STATUS_ONLY
		:: else -> v = Acquired; break
#else
		:: status[b] != USER && lf == 0 -> v = Acquired; break
		:: status[b] != USER && lf != 0 && !(lf & RELEASING) -> v = Owned; break
		:: else ->
			if
			:: wait == WAIT -> v = Releasing; break
			:: else -> wait++
			fi
#endif
		fi
	   }
#ifdef WAIT_FOREVER
	   ; wait = 0;
	   ((state[b] | complete[b]) != lf || status[b] == USER)	/* a look that would find the same is none */
#endif
	od
}

/* Blocks.begin. */
inline begin(b)
{
	d_step {
		if
		:: me == TIMER -> printf("timer opens block %d\n", b)
		:: else -> printf("writer %d opens block %d\n", me, b)
		fi;
		check_one(filling[b] == 0);
		check_order(!handed[b]);
		fill[b] = 0;
		opened++;
		retired = false;
		check_laps(probing || opened <= 3 * BLOCKS)
	}
}

inline clear_state(b)
{
	d_step {
		state[b] = 0;
		complete[b] = 0;
		if
		:: me == TIMER -> printf("timer clears the state of block %d\n", b)
		:: else -> printf("writer %d clears the state of block %d\n", me, b)
		fi
	}
}

/* Blocks.publish. */
inline publish(b)
{
	d_step { num_pkts[b] = seal_packets[b]; state[b] = state[b] | RELEASING }
#ifdef SWAPPED
	clear_state(b);
#endif
	d_step {
		status[b] = USER;
		if
		:: me == TIMER -> printf("timer stores USER to block %d\n", b)
		:: else -> printf("writer %d stores USER to block %d\n", me, b)
		fi;
		check_one(filling[b] == 0);
		handed[b] = READER_ORDERLY;
		inside[b] = 0
	}
#ifndef SWAPPED
	clear_state(b)
#endif
}

/* Blocks.advance: retire the block of the fill in the registers, and look at the
 * next. */
inline advance()
{
#ifdef SEAL_LAST
	d_step { captured = captured + pk; state[no % BLOCKS] = state[no % BLOCKS] | RETIRED; lf = complete[no % BLOCKS]; retired = true }
	d_step { seal_end[no % BLOCKS] = tk; seal_packets[no % BLOCKS] = pk }
#else
	d_step { captured = captured + pk; seal_end[no % BLOCKS] = tk; seal_packets[no % BLOCKS] = pk }
	d_step { state[no % BLOCKS] = state[no % BLOCKS] | RETIRED; lf = complete[no % BLOCKS]; retired = true }
#endif
	if
	:: me == TIMER -> printf("timer has retired block %d\n", no % BLOCKS)
	:: else -> printf("writer %d has retired block %d\n", me, no % BLOCKS)
	fi;
#ifdef RETIRER_WAITS
	complete[no % BLOCKS] == tk;
	publish(no % BLOCKS);
#else
	if
	:: lf == tk -> publish(no % BLOCKS)
	:: else
	fi;
#endif
	openable((no + 1) % BLOCKS)
}

/* Ghost, and part of the step that takes the places. */
inline took(b, place)
{
	v = Acquired;
	block = b;
	at = place;
	accepted++;
	id = accepted;
	printf("writer %d takes %d of block %d from place %d on for packet %d\n", me, size, b, place, id);
	check_one(held[AT(b, place)] == 0);
	held[AT(b, place)]++;
	if
	:: size == 2 -> check_one(held[AT(b, place + 1)] == 0); held[AT(b, place + 1)]++
	:: else
	fi;
	fill[b] = place + size;
	inside[b]++;
	filling[b]++
}

/* Blocks.change, the lock held. */
inline change()
{
	load_open();
	if
	:: tk == CLOSED -> v = NoRoom
	:: tk == SHUT ->
		openable(no % BLOCKS);
		if
		:: v == Acquired ->
			d_step { taken = MOVING; v = Again }
			begin(no % BLOCKS);
			d_step { taken = 0; packets = 0 }
		:: else
		fi
	:: else ->
		atomic {
			if
			:: tk + size <= PLACES || number != no || taken != tk || packets != pk -> v = Again
			:: else -> taken = MOVING; v = Acquired
			fi
		}
		if
		:: v == Acquired ->
			advance();
			if
			:: v == Acquired ->
				begin((no + 1) % BLOCKS);
				d_step { number = no + 1; taken = size; packets = 1; took((no + 1) % BLOCKS, 0) }
			:: else ->
				d_step { number = no + 1; taken = SHUT; packets = 0 }
			fi
		:: else
		fi
	fi
}

inline acquire()
{
	do
	:: load_open();
	   if
	   :: tk < SHUT && tk + size <= PLACES ->
		atomic {		/* compare and swap */
			if
			:: number == no && taken == tk && packets == pk ->
				taken = tk + size;
				packets = pk + 1;
				took(no % BLOCKS, tk);
				break
			:: else
			fi
		}
	   :: else ->
		v = Again;
		if
		:: tk == SHUT ->
			openable(no % BLOCKS);
			atomic {
				if
				:: v == Acquired || number != no || taken != tk -> v = Again
				:: else
				fi
			}
		:: else
		fi;
		if
		:: v == Again -> lock(); change(); unlock()
		:: else
		fi;
		if
		:: v != Again -> break
		:: else
		fi
	   fi
	od
}

/* Blocks.Release: the packet is complete, and perhaps the block. */
inline release()
{
	d_step {
		complete[block] = complete[block] + size;
		filling[block]--;
		held[AT(block, at)]--;
		if
		:: size == 2 -> held[AT(block, at + 1)]--
		:: else
		fi;
		lf = state[block];
		tk = complete[block];
		printf("writer %d has completed packet %d in block %d\n", me, id, block);
#ifdef RETIRER_WAITS
		lf = 0;
#endif
		if
		:: lf & RETIRED -> skip
		:: else -> inside[block]--
		fi
	}
	if
	:: lf & RETIRED ->
		if
		:: tk == seal_end[block] -> publish(block)
		:: else -> inside[block]--
		fi
	:: else
	fi
}

inline forget()
{
	d_step {
		no = 0; tk = 0; pk = 0; lf = 0; wait = 0; v = 0;
		was_full = false; was_busy = false;
		block = 0; at = 0; size = 0; id = 0
	}
}

/* What Acquire and Expire keep. */
#define REGISTERS byte no, tk, pk, lf, wait, block, at, size, id; mtype v; bool was_full, was_busy;

#if BLOCKS > 1
#define NOTHING_TO_READ (status[0] != USER && status[1] != USER)
#else
#define NOTHING_TO_READ (status[0] != USER)
#endif

/* The reader gives every block back: a lawful one does by itself. */
inline give_back()
{
	if
	:: READER_ORDERLY -> NOTHING_TO_READ
	:: else -> d_step {
		status[0] = KERNEL;
#if BLOCKS > 1
		status[1] = KERNEL
#endif
	   }
	fi
}

proctype writer(byte me; byte left)
{
	REGISTERS
	bool tried;

	do
	:: left > 0 ->
		if
		:: size = 2
		:: !probing -> size = 1
		fi;
		acquire();
		if
		:: v == Acquired ->
			front[AT(block, at)] = id;	/* the copy: no lock held */
#ifdef STALLED
			if
			:: me == 1 ->
end_stalled:			false
			:: else
			fi;
#endif
			d_step { back[AT(block, at)] = id; length[AT(block, at)] = size }
			release();
			d_step { tried = false; left-- }
		:: else ->
			d_step {
				printf("writer %d drops a packet: %e\n", me, v);
				check_honest(v != Full || was_full);
				check_honest(v != Owned || was_busy);
				check_needless(v == NoRoom || was_full || was_busy);
				dropped++
			}
			if
			:: probing ->
				check_reusable(v == Full && !tried);
				give_back();	/* and then there is room */
				tried = true
			:: else -> left--
			fi
		fi;
		forget()
	:: else -> break
	od;
	finished++
}

/* Blocks.Expire. */
proctype timer(byte left)
{
	REGISTERS
	byte me = TIMER;

	do
	:: left > 0 ->
		lock();
		load_open();
		if
		:: tk == CLOSED || tk == 0
		:: tk == SHUT ->
			openable(no % BLOCKS);
			if
			:: v == Acquired ->
				taken = MOVING;
				begin(no % BLOCKS);
				d_step { taken = 0; packets = 0 }
			:: else
			fi
		:: else ->
			atomic {	/* the swap that succeeds is of what was just loaded */
				load_open();
				taken = MOVING
			}
			advance();
			if
			:: v == Acquired ->
				begin((no + 1) % BLOCKS);
				d_step { number = no + 1; taken = 0; packets = 0 }
			:: else ->
				d_step { number = no + 1; taken = SHUT; packets = 0 }
			fi
		fi;
		unlock();
		d_step { left--; forget() }
	:: else -> break
	od;
	expired++
}

#if defined(READER_lawful)

proctype reader()
{
	byte b, at, n, f, s;

end:	do
	:: status[b] == USER ->
		n = num_pkts[b];
		do
		:: n > 0 ->
			f = front[AT(b, at)];
			s = back[AT(b, at)];
			d_step {
				printf("reader finds the halves of packets %d and %d in block %d\n", f, s, b);
				check_whole(f == s);
				check_order(f == seen + 1 && s == seen + 1);
				seen++;
				at = at + length[AT(b, at)];
				n--;
				f = 0;
				s = 0
			}
		:: else -> break
		od;
		atomic {
			status[b] = KERNEL;
			handed[b] = false;
			printf("reader stores KERNEL to block %d\n", b);
			at = 0;
			b = (b + 1) % BLOCKS
		}
	od
}
#define READER_DONE true

#elif defined(READER_hostile)

bool reader_done;

proctype reader()
{
	byte b, stores;

	do
	:: stores < STORES ->
		if
		:: b = 0
#if BLOCKS > 1
		:: b = 1
#endif
		fi;
		if
		:: atomic { status[b] = KERNEL; printf("reader stores KERNEL to block %d\n", b) }
		:: atomic { status[b] = USER; printf("reader stores USER to block %d\n", b) }
		fi;
		d_step { b = 0; stores++ }
	:: else -> break
	od;
	reader_done = true
}
#define READER_DONE reader_done

#elif defined(READER_stopped)

proctype reader() { skip }
#define READER_DONE true

#else
#error a READER is wanted: READER_lawful, READER_hostile or READER_stopped
#endif

#ifdef CLOSE
bool closing_done;
byte final;

proctype closer()
{
	lock();
	taken = CLOSED;
	d_step { final = captured + packets; closing_done = true; printf("closer has closed the ring, %d captured\n", final) }
	unlock()
}
#define CLOSER_DONE closing_done
#else
#define CLOSER_DONE true
#endif

#ifdef STALLED
#define ENDING (WRITERS - 1)
#else
#define ENDING WRITERS
#endif

init
{
	byte i;

	atomic {
		opened = 1;
		run reader();
#if EXPIRES > 0
		run timer(EXPIRES);
#else
		expired++;
#endif
#ifdef CLOSE
		run closer();
#endif
		for (i : 1 .. WRITERS) { run writer(i, PACKETS) }
		i = 0
	}

	finished >= ENDING && expired == 1 && CLOSER_DONE && READER_DONE;
#ifndef STALLED
	atomic {
		!locked;
		check_count(accepted + dropped == OFFERED);
		check_count(captured + packets == accepted);
#ifdef CLOSE
		check_count(final == accepted)
	}
#else
		run timer(1)		/* what is in the open block goes to the reader, too */
	}
	atomic {
		expired == 2 && (!READER_ORDERLY || NOTHING_TO_READ);
		check_order(!READER_ORDERLY || seen == accepted);
		printf("init finds all writers finished\n");
		probing = true;
		run writer(0, BLOCKS + 1)
	}
	finished == WRITERS + 1
#endif
#endif
}

#ifdef CHECK_finish
ltl finish { <> (finished == WRITERS) }
#endif
