/*
 * internal/ownership/head.go: the lock and the head slot of the designs that have a lock.
 */
bool locked;
byte head;
byte n_taken;	/* head.n */
bool closed;

inline lock()   { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

/* head.look: judge the head slot by its status alone. */
inline look()
{
	slot = head;
	if
	:: closed -> v = NoRoom
	:: else ->
		load_status(slot);
		v = (st == KERNEL -> Acquired : Full)
	fi
}

/* head.advance: the slot is the writer's. */
inline advance()
{
	d_step {
		n_taken++;
		head = (head + 1) % SLOTS;
		took(1)
	}
}

inline close_ring() { lock(); closed = true; unlock() }
#define TAKEN n_taken
