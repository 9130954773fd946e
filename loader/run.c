// SPDX-License-Identifier: GPL-2.0-only
/* clatch-loader run: stays, watches SAs and policies (watch.h), and prints events. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "attach.h"
#include "attach_device.h"
#include "cgroup.h"
#include "cleanup.h"
#include "daemon.h"
#include "duration.h"
#include "follow.h"
#include "pins.h"
#include "takeover.h"
#include "vici.h"
#include "watch.h"

struct run {
	const struct cli *cli;
	struct clatch_meta meta;
	struct follow follow;
	int ring;
	struct watch *watch;
	struct watch_options options;
};

#define RUN_INIT(c)                                                                                \
	{                                                                                          \
		.cli = (c), .follow = FOLLOW_INIT, .ring = -1, .options = { CLATCH_RESET_DEFAULT } \
	}

static void run_close(struct run *r)
{
	watch_close(r->watch);
	follow_close(&r->follow);
	cleanup_close(&r->ring);
}

static int open_events(struct run *r)
{
	r->ring = pins_map(r->cli, "clatch_events");
	if (r->ring < 0)
		return r->ring;
	return follow_open(&r->follow, r->cli, r->ring, CLATCH_LOST_RUN);
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

/* What others did while nobody watched: first of all, latches whose connection has gone. */
static int open_watch(struct run *r, bool fresh)
{
	struct events_watch listener = { watch_event, watch_missed, NULL };
	int err = watch_open(&r->watch, r->cli, r->follow.loop, &r->options);
	long gone;

	if (err)
		return err;
	listener.context = r->watch;
	events_watch(r->follow.events, &listener);
	gone = fresh ? 0 : watch_reconcile(r->watch);
	if (gone > 0)
		cli_warn(r->cli, "Latches removed, as their connection ended unseen: %ld", gone);
	return gone < 0 ? gone : 0;
}

static int stay(struct run *r, bool fresh)
{
	const struct cli *cli = r->cli;
	int err = open_events(r);

	if (err)
		return cli_fail(cli, "Couldn't follow events: %s", pins_strerror(err));
	err = open_watch(r, fresh);
	if (err)
		return cli_fail(cli, "Couldn't watch the kernel's SAs and policies: %s",
				strerror(-err));
	say_ready(r);
	err = follow_run(&r->follow);
	sd_notify(0, "STOPPING=1");
	if (err)
		return cli_fail(
			cli,
			"Couldn't go on following the kernel's SAs and policies: %s; what is "
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
		status = stay(r, fresh);
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

static int run(struct cli *cli, struct load_options *options, const char *reset_after,
	       const char *vici)
{
	__attribute__((cleanup(run_close))) struct run r = RUN_INIT(cli);
	bool fresh = !pins_loaded(cli->bpffs);
	int status;

	if (reset_after && duration_parse(&r.options.reset_after, reset_after))
		return cli_usage(cli, "--reset-after '%s' is not " DURATION_FORM, reset_after);
	if (vici && strlen(vici) > VICI_MAX_PATH)
		return cli_usage(cli, "--vici is longer than %zu bytes", VICI_MAX_PATH);
	r.options.vici = vici;
	status = load_read_policy(cli, options);
	if (status)
		return status;
	hold_signals();
	status = fresh ? load_perform(cli, options) : pins_may_change(cli);
	if (!status)
		status = pins_open(cli, &r.meta);
	return status ? status : claim_and_stay(&r, options, fresh);
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
	struct load_options options = LOAD_OPTIONS_INIT;
	const char *reset_after = NULL, *vici = NULL;
	const struct cli_option table[] = { LOAD_OPTION_ENTRIES(&options),
					    { "reset-after", "TIME",
					      "reset what is BROKEN for that long (default as in "
					      "the policy, or 30s; 0s, never)",
					      OPT_STRING, &reset_after, 0, 0 },
					    { "vici", "SOCKET",
					      "learn from strongSwan who the peers are "
					      "(/run/charon.vici)",
					      OPT_STRING, &vici, 0, 0 },
					    {} };
	int positionals, status = cli_parse(cli, table, argc, argv, 0, &positionals);

	if (!status)
		status = run(cli, &options, reset_after, vici);
	load_options_free(&options);
	return status < 0 ? EXIT_DONE : status;
}
