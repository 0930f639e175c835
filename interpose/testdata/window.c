// A process whose memory is written to by the supervisor, and another one that gets its
// number. Both have a page at the same address.
//
//	window program    asks a packet socket for an option, with the answer to go to the page
//	window two        the same, but opens another socket first
//	window heir PID   starts a process with the number PID, waits for a line, and says
//	                  whether that process's page has changed
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/sched.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADDRESS ((unsigned char *)0x123400000000)

enum { PAGE = 4096, MARK = 0x5a };

static int program(void)
{
	socklen_t *len = (socklen_t *)(ADDRESS + 64);
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	if (fd < 0)
		return perror("socket"), 1;
	*len = sizeof(int);
	getsockopt(fd, SOL_PACKET, PACKET_VERSION, ADDRESS, len);
	puts("answered");
	return 0;
}

static int heir(pid_t pid)
{
	struct clone_args args = {.set_tid = (unsigned long)&pid, .set_tid_size = 1};
	int end[2];
	if (pipe(end))
		return perror("pipe"), 1;
	long child = syscall(SYS_clone3, &args, sizeof args);
	if (child < 0)
		return printf("no process %d: %s\n", pid, strerror(errno)), 1;
	if (child == 0) {
		char c;
		close(end[1]);
		if (read(end[0], &c, 1) < 0)
			_exit(2);
		for (int i = 0; i < PAGE; i++)
			if (ADDRESS[i] != MARK)
				_exit(1);
		_exit(0);
	}
	printf("number %ld\n", child);
	fflush(stdout);
	char line[8];
	if (!fgets(line, sizeof line, stdin))
		return 1;
	close(end[0]), close(end[1]);
	int status;
	waitpid(child, &status, __WALL);
	puts(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "untouched" : "written to");
	return 0;
}

int main(int argc, char **argv)
{
	if (mmap(ADDRESS, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != ADDRESS)
		return perror("mmap"), 1;
	memset(ADDRESS, MARK, PAGE);
	if (argc == 3)
		return heir(atoi(argv[2]));
	if (!strcmp(argv[1], "two") && socket(AF_PACKET, SOCK_RAW, 0) < 0)
		return perror("socket"), 1;
	return program();
}
