// A process that uses a library as it is told on its standard input:
//   caller LIBRARY
//   call FUNCTION N [THREADS]   each thread calls it N times; answers with CPU ns per call
//   pace FUNCTION N MICROSECONDS   N times, that long apart
//   leave   the first thread ends, another goes on
//   exit
// It says "ready PID" when the library is open, and answers each line by one line.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct job {
	int (*function)(void);
	long n;
};

static void *work(void *argument) {
	struct job *job = argument;
	for (long i = 0; i < job->n; i++)
		job->function();
	return 0;
}

static double now(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void call(struct job job, int threads) {
	pthread_t thread[64];
	// The time on a CPU: what others do on a busy machine is no cost of a call.
	double begin = now(CLOCK_PROCESS_CPUTIME_ID);
	if (threads <= 1) {
		work(&job);
	} else {
		for (int i = 0; i < threads && i < 64; i++)
			pthread_create(&thread[i], 0, work, &job);
		for (int i = 0; i < threads && i < 64; i++)
			pthread_join(thread[i], 0);
	}
	printf("ok %.2f\n", (now(CLOCK_PROCESS_CPUTIME_ID) - begin) / job.n);
}

static void pace(struct job job, long microseconds) {
	double next = now(CLOCK_MONOTONIC);
	for (long i = 0; i < job.n; i++) {
		job.function();
		next += microseconds * 1e3;
		while (now(CLOCK_MONOTONIC) < next)
			usleep(50);
	}
	printf("ok 0\n");
}

static void *obey(void *library) {
	char line[256], verb[32], name[64];
	while (fgets(line, sizeof(line), stdin)) {
		long n = 0, extra = 0;
		if (sscanf(line, "%31s %63s %ld %ld", verb, name, &n, &extra) < 1 || !strcmp(verb, "exit"))
			break;
		if (!strcmp(verb, "leave")) {
			pthread_t other;
			pthread_create(&other, 0, obey, library);
			printf("ok 0\n");
			pthread_exit(0);
		}
		struct job job = {dlsym(library, name), n};
		if (!job.function)
			printf("error no %s\n", name);
		else if (!strcmp(verb, "call"))
			call(job, extra);
		else if (!strcmp(verb, "pace"))
			pace(job, extra);
		else
			printf("error what is %s\n", verb);
	}
	exit(0);
}

int main(int argc, char **argv) {
	setvbuf(stdout, 0, _IOLBF, 0);
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : 0;
	if (!library) {
		printf("error %s\n", argc > 1 ? dlerror() : "usage: caller LIBRARY");
		return 1;
	}
	printf("ready %d\n", getpid());
	obey(library);
}
