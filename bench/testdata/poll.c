// poll DEVICE MICROSECONDS: polls a packet socket with a ring, on which nothing arrives, for so long, and
// prints the number of calls, and the nanoseconds that they take at the rate of the median lap.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

enum { LAP = 8, MOST = 1 << 16, NOTHING = 0x88b5 /* ETH_P_802_EX1, of which no frame is sent */ };

static long long laps[MOST];

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void must(int ok, const char *what) {
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static int less(const void *a, const void *b) {
	long long x = *(const long long *)a, y = *(const long long *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv) {
	must(argc == 3, "two arguments");
	int fd = socket(AF_PACKET, SOCK_RAW, 0), version = TPACKET_V2;
	must(fd >= 0, "socket");
	must(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0, "PACKET_VERSION");
	struct tpacket_req ring = {.tp_block_size = 1 << 16, .tp_block_nr = 4, .tp_frame_size = 2048, .tp_frame_nr = 128};
	must(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) == 0, "PACKET_RX_RING");
	must(mmap(NULL, 4 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED, "mmap");
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(NOTHING), .sll_ifindex = if_nametoindex(argv[1])};
	must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0, "bind");
	struct pollfd p = {.fd = fd, .events = POLLIN};
	long long begin = now(), last = begin, end = begin + atoll(argv[2]) * 1000;
	int n = 0;
	while (last < end && n < MOST) {
		for (int i = 0; i < LAP; i++)
			if (poll(&p, 1, 0)) {
				fprintf(stderr, "poll %d: revents %#x: want no event of an empty ring\n", n * LAP + i, p.revents);
				return 1;
			}
		long long t = now();
		laps[n++] = t - last;
		last = t;
	}
	qsort(laps, n, sizeof *laps, less);
	printf("%d %lld\n", n * LAP, laps[n / 2] * n);
	return 0;
}
