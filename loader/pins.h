/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pinned state: which maps, programs and links stand where under the bpffs directory.
 *
 *   DIR/clatch_latches …      the maps, by name
 *   DIR/clatch_meta           made last, removed first: there = loaded completely
 *   DIR/progs/clatch_ingress … the programs, for attaching to more cgroups and devices
 *   DIR/links/CGROUP-ID_PROGRAM one link for each program on each cgroup
 */
#ifndef CLATCH_PINS_H
#define CLATCH_PINS_H

#include <limits.h>
#include <stdbool.h>
#include <clatch/meta.h>
#include "cli.h"

/*
 * Opens the instance at cli->bpffs: checks that it is complete and of our layout.  0 and *meta;
 * else an exit status, after an error was said ("Nothing is loaded at …", pins of another version,
 * no permission).
 */
int pins_open(const struct cli *cli, struct clatch_meta *meta);

/* Has this process every capability that changing an instance takes?  0, or as pins_open(). */
int pins_may_change(const struct cli *cli);
/* pins_open(), to change it: asks pins_may_change(), and takes the lock, *lock. */
int pins_open_locked(const struct cli *cli, int *lock);
/* The same without a word: 0; -ENOENT nothing is loaded; -EPROTO another version; -errno. */
int pins_read(const char *dir, struct clatch_meta *meta);
/* Is an instance, complete and of whatever version, at @dir? */
bool pins_loaded(const char *dir);
/* Is any pin of ours at @dir, be it what a load or unload that was killed left? */
bool pins_any(const char *dir);

/* A pinned map's file descriptor, or -errno. */
int pins_map(const struct cli *cli, const char *name);
int pins_map_in(const char *dir, const char *name);

/*
 * Lets a `run` that sleeps know that something has changed of which it keeps a copy.  Where that
 * fails, it sees it when it wakes up for something else (look.h).
 */
void pins_tell(const struct cli *cli);

/* A pinned program's file descriptor, or -errno. */
int pins_program(const char *dir, const char *name);

/* @dir, a slash and @format; 0 or -ENAMETOOLONG. */
int pins_path(char path[PATH_MAX], const char *dir, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Can pins be made and removed at @dir?  0; -ENOENT neither it nor its parent is there; -ENOTDIR;
 * -EMEDIUMTYPE not on a bpffs; -EROFS; -errno.
 */
int pins_check(const char *dir);

/*
 * Everything that changes an instance holds the lock on its directory, and waits for it.  With
 * @made the directory is made where there is none, and *made tells so.  The lock's file descriptor
 * or -errno.
 */
int pins_lock(const char *dir, bool *made);

/* Makes @dir/progs and @dir/links, and @dir for root only. */
int pins_make_directories(const char *dir);

/*
 * Removes clatch_meta first, then every pin of ours and the directories below; with @itself also
 * @dir, unless it is the root of a mount or holds other files.  0 or -errno.
 */
int pins_remove(const char *dir, bool itself);

/* What an -errno of these functions means to the user. */
const char *pins_strerror(int error);

#endif
