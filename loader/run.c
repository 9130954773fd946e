// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader run: stays, keeps the SA table equal to the kernel's SAD, and prints events. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>

#include "attach.h"
#include "cgroup.h"
#include "cleanup.h"
#include "daemon.h"
#include "follow.h"
#include "pins.h"
#include "sad.h"
#include "takeover.h"

struct run {
	const struct cli *cli;
	struct clatch_meta meta;
	struct follow follow;
	int ring;
	struct sad *sad;
	int sas;
	bool full_said; /* that the SA table has no room */
};

#define RUN_INIT(c)                                                                                \
	{                                                                                          \
		.cli = (c), .follow = FOLLOW_INIT, .ring = -1, .sas = -1                           \
	}

static void run_close(struct run *r)
{
	follow_close(&r->follow);
	cleanup_close(&r->ring);
	sad_close(r->sad);
	cleanup_close(&r->sas);
}

/* A table with no room is said once, and the rest goes on. */
static int check_sad(struct run *r, int err)
{
	if (err != -ENOSPC)
		return err;
	if (!r->full_said)
		cli_warn(r->cli, "The SA table clatch_sas is full: what comes under the SAs that "
				 "are not in it may be dropped as unknown-sa");
	r->full_said = true;
	return 0;
}

static int on_sad(sd_event_source *source, int fd, uint32_t revents, void *context)
{
	struct run *r = context;

	(void)source, (void)fd, (void)revents;
	return check_sad(r, sad_receive(r->sad));
}

static int open_sad(struct run *r)
{
	int err;

	r->sas = pins_map(r->cli, "clatch_sas");
	if (r->sas < 0)
		return r->sas;
	err = sad_open(&r->sad, r->sas, true);
	if (!err)
		err = check_sad(r, sad_fill(r->sad));
	if (!err)
		err = sd_event_add_io(r->follow.loop, NULL, sad_fd(r->sad), EPOLLIN, on_sad, r);
	return err < 0 ? err : 0;
}

static int open_events(struct run *r)
{
	r->ring = pins_map(r->cli, "clatch_events");
	if (r->ring < 0)
		return r->ring;
	return follow_open(&r->follow, r->cli, r->ring, 0);
}

/* What is guarded, as words; an empty text where nothing is. */
static void print_guarded(FILE *out, const char *dir)
{
	struct clatch_device devices[CLATCH_MAX_DEVICES];
	_cleanup_free_ __u64 *cgroups = NULL;
	unsigned int count;
	char path[PATH_MAX];

	if (!attached_cgroups(dir, &cgroups))
		for (const __u64 *id = cgroups; *id; id++)
			if (!cgroup_path(*id, path))
				fprintf(out, ", cgroup %s", path);
	if (!attached_devices(dir, devices, &count))
		for (unsigned int i = 0; i < count; i++)
			if (device_state(dir, &devices[i]) == DEVICE_GUARDED)
				fprintf(out, ", device %s", devices[i].name);
}

static void say_ready(const struct run *r)
{
	const struct cli *cli = r->cli;

	sd_notify(0, "READY=1");
	if (cli->json)
		return;
	fprintf(stderr, "%s: %s at %s", cli->program, r->meta.audit ? "auditing" : "enforcing",
		cli->bpffs);
	print_guarded(stderr, cli->bpffs);
	putc('\n', stderr);
}

static int stay(struct run *r)
{
	const struct cli *cli = r->cli;
	int err = open_events(r);

	if (err)
		return cli_fail(cli, "Couldn't follow events: %s", pins_strerror(err));
	err = open_sad(r);
	if (err)
		return cli_fail(cli, "Couldn't read the kernel's SAs: %s", strerror(-err));
	say_ready(r);
	err = follow_run(&r->follow);
	sd_notify(0, "STOPPING=1");
	if (err)
		return cli_fail(cli,
				"Couldn't go on following the kernel's SAs: %s; what is "
				"loaded stays in force",
				strerror(-err));
	if (r->follow.gone)
		cli_warn(cli, "Unloaded: nothing is left to run at %s", cli->bpffs);
	return EXIT_DONE;
}

static int claim_and_stay(struct run *r, const struct load_options *options, bool fresh)
{
	const struct cli *cli = r->cli;
	int status = 0, err;
	__u32 pid;

	err = daemon_claim(cli, &pid);
	if (err == -EBUSY)
		return cli_fail(cli, "Another run is at work at %s: process %u", cli->bpffs, pid);
	if (err)
		return cli_fail(cli, "Couldn't take over %s: %s", cli->bpffs, pins_strerror(err));
	if (!fresh)
		status = takeover(cli, &r->meta, options);
	if (!status)
		status = stay(r);
	daemon_release(cli);
	return status;
}

/* They wait for the event loop, so that nothing is left half done. */
static void hold_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

static int run(struct cli *cli, const struct load_options *options)
{
	__attribute__((cleanup(run_close))) struct run r = RUN_INIT(cli);
	bool fresh = !pins_loaded(cli->bpffs);
	int status;

	hold_signals();
	status = fresh ? load_perform(cli, options) : pins_may_change(cli);
	if (!status)
		status = pins_open(cli, &r.meta);
	return status ? status : claim_and_stay(&r, options, fresh);
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
	struct load_options options = LOAD_OPTIONS_INIT;
	const struct cli_option table[] = { LOAD_OPTION_ENTRIES(&options), {} };
	int positionals, status = cli_parse(cli, table, argc, argv, 0, &positionals);

	if (!status)
		status = run(cli, &options);
	load_options_free(&options);
	return status < 0 ? EXIT_DONE : status;
}
