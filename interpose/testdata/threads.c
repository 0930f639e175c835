// Threads that make trapped calls at once.
//
//	threads THREADS SOCKETS CALLS poll|other|open
//	threads ready SOCKETS
//
// Each thread makes CALLS calls: of poll, for one of SOCKETS packet sockets with rings
// that are bound to quiet0 (poll), or for a pipe that is empty (other), or of open, for
// /dev/null. It prints the nanoseconds from the first call to the last.
//
// ready: SOCKETS packet sockets are bound to net0, which is busy. Each must become readable,
// when a packet is in its ring and, but for a late wake-up, not before, for a poll, ppoll, pselect or select of it alone,
// and for a poll of an epoll set.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 256 };

static pthread_barrier_t start;
static int calls, fds[MOST];
static char op;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *run(void *arg)
{
	struct pollfd p = {.fd = *(int *)arg, .events = POLLIN};
	pthread_barrier_wait(&start);
	for (int i = 0; i < calls; i++) {
		if (op == 'o') {
			int fd = open("/dev/null", O_RDONLY);
			if (fd < 0)
				die("open");
			close(fd);
		} else if (poll(&p, 1, 0) != 0)
			die("poll");
	}
	return NULL;
}

static int ring(const char *device)
{
	struct tpacket_req q = {.tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 2048, .tp_frame_nr = 2};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), v2 = TPACKET_V2;
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = if_nametoindex(device)};
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VERSION, &v2, sizeof v2) || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &q, sizeof q) ||
	    bind(fd, (struct sockaddr *)&to, sizeof to))
		die("packet socket");
	return fd;
}

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int wait_for(int fd, int how)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec t = {.tv_sec = 5};
	struct timeval v = {.tv_sec = 5};
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fd, &set);
	switch (how) {
	case 0:
		return poll(&p, 1, 5000);
	case 1:
		return ppoll(&p, 1, &t, NULL);
	case 2:
		return pselect(fd + 1, &set, NULL, NULL, &t, NULL);
	}
#ifdef SYS_select
	return syscall(SYS_select, fd + 1, &set, NULL, NULL, &v);
#else
	return select(fd + 1, &set, NULL, NULL, &v);
#endif
}

static int empty(char *frames)
{
	int found = 0;
	for (int i = 0; i < 2; i++) {
		struct tpacket2_hdr *h = (struct tpacket2_hdr *)(frames + 2048 * i);
		found += (__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) != 0;
		__atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	}
	return found;
}

static int ready(int sockets)
{
	char *frames[MOST];
	int sets[MOST];
	for (int i = 0; i < sockets; i++) {
		struct epoll_event e = {.events = EPOLLIN};
		fds[i] = ring("net0");
		frames[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		sets[i] = epoll_create1(0);
		if (frames[i] == MAP_FAILED || sets[i] < 0 || epoll_ctl(sets[i], EPOLL_CTL_ADD, fds[i], &e))
			die("ready");
	}
	for (int i = 0; i < sockets; i++)
		for (int how = 0; how < 10; how++) {
			int nested = how % 5 == 4, fd = nested ? sets[i] : fds[i], with = nested ? how % 4 : how % 5;
			int n = wait_for(fd, with);
			if (n == 1 && empty(frames[i]))
				continue;
			// The wake-up of a packet that was seen already may be late.
			if (n != 1 || (n = wait_for(fd, with)) != 1 || !empty(frames[i]))
				return printf("socket %d, wait %d: %d, and no packet\n", i, how, n), 1;
		}
	puts("0");
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t threads[MOST];
	int unused[2];
	if (argc == 3 && !strcmp(argv[1], "ready") && atoi(argv[2]) <= MOST)
		return ready(atoi(argv[2]));
	if (argc != 5)
		return 2;
	int n = atoi(argv[1]), sockets = atoi(argv[2]);
	calls = atoi(argv[3]);
	op = !strcmp(argv[4], "open") ? 'o' : 'p';
	if (n < 1 || n > MOST || sockets < 1 || sockets > MOST || pipe(unused))
		return 2;
	for (int i = 0; i < sockets; i++)
		fds[i] = ring("quiet0");
	pthread_barrier_init(&start, NULL, n + 1);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, run, strcmp(argv[4], "other") ? &fds[i % sockets] : &unused[0]))
			die("thread");
	long began = now();
	pthread_barrier_wait(&start);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("%ld\n", now() - began);
	return 0;
}
