// SPDX-License-Identifier: GPL-2.0-only
#include "daemon.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "pins.h"

static void cleanup_fclose(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* Field 22 of /proc/PID/stat; the second, in parentheses, may hold anything. 0 = no such process. */
static __u64 start_time(__u32 pid)
{
	char path[32], line[1024];
	unsigned long long start = 0;
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	__attribute__((cleanup(cleanup_fclose))) FILE *file = fopen(path, "re");
	if (!file || !fgets(line, sizeof(line), file))
		return 0;
	rest = strrchr(line, ')');
	if (!rest || sscanf(rest + 1,
			    " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			    "%*d %*d %llu",
			    &start) != 1)
		return 0;
	return start;
}

bool daemon_alive(const struct clatch_meta *meta)
{
	return meta->pid && start_time(meta->pid) == meta->pid_start;
}

/* Reads the record, has @change work on it, and writes it back: one at a time. */
static int change_meta(const struct cli *cli, int (*change)(struct clatch_meta *, void *),
		       void *context)
{
	_cleanup_close_ int lock = pins_lock(cli->bpffs, NULL);
	_cleanup_close_ int map = -1;
	struct clatch_meta meta;
	__u32 zero = 0;
	int err;

	if (lock < 0)
		return lock;
	map = pins_map(cli, "clatch_meta");
	if (map < 0)
		return map;
	err = bpf_map_lookup_elem(map, &zero, &meta);
	if (!err)
		err = change(&meta, context);
	return err ? err : bpf_map_update_elem(map, &zero, &meta, BPF_ANY);
}

static int claim(struct clatch_meta *meta, void *pid)
{
	if (daemon_alive(meta)) {
		*(__u32 *)pid = meta->pid;
		return -EBUSY;
	}
	meta->pid = getpid();
	meta->pid_start = start_time(meta->pid);
	meta->ike = CLATCH_IKE_NONE;
	return 0;
}

static int release(struct clatch_meta *meta, void *context)
{
	(void)context;
	if (meta->pid == (__u32)getpid())
		meta->pid = meta->pid_start = 0;
	return 0;
}

int daemon_claim(const struct cli *cli, __u32 *pid)
{
	return change_meta(cli, claim, pid);
}

int daemon_release(const struct cli *cli)
{
	return change_meta(cli, release, NULL);
}

/* Without the lock, for which the event loop might wait: nobody else changes the record by now. */
int daemon_note_ike(const struct cli *cli, enum clatch_ike ike)
{
	_cleanup_close_ int map = pins_map(cli, "clatch_meta");
	struct clatch_meta meta;
	struct timespec now;
	__u32 zero = 0;
	int err;

	if (map < 0)
		return map;
	err = bpf_map_lookup_elem(map, &zero, &meta);
	if (err || meta.pid != (__u32)getpid())
		return err ? err : -ESRCH;
	clock_gettime(CLOCK_BOOTTIME, &now);
	meta.ike = ike;
	meta.ike_since_ns = now.tv_sec * 1000000000ULL + now.tv_nsec;
	return bpf_map_update_elem(map, &zero, &meta, BPF_EXIST);
}
