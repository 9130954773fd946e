/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading whole maps. */
#ifndef CLATCH_MAP_H
#define CLATCH_MAP_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Return 0 to go on; anything else ends the walk.  What is removed just then may come with the value of
 * what took its place: who acts on it looks whether it is still what it was.
 */
typedef int map_visit(void *context, const void *key, const void *value);

/*
 * Calls @visit for every entry of the map @fd, a batch at a time, so that memory does not grow with
 * the map.  What is added or removed meanwhile may be seen or not; the rest is seen once.
 * 0, what @visit returned, or -errno.
 */
int map_each(int fd, size_t key_size, size_t value_size, map_visit *visit, void *context);
/* For a map of which no entry is ever put anew with another value: half as long where it has few. */
int map_each_steady(int fd, size_t key_size, size_t value_size, map_visit *visit, void *context);

/* The same a batch at a time, about a thousand entries, for who has else to do in between. */
struct map_walk;

/* 0 or -ENOMEM.  @steady: as map_each_steady(). */
int map_walk_begin(struct map_walk **walk, int fd, size_t key_size, size_t value_size, bool steady);
/* As map_each(), for the next batch; @more: until it is false or an error is returned. */
int map_walk_step(struct map_walk *walk, map_visit *visit, void *context, bool *more);
/* May be NULL. */
void map_walk_end(struct map_walk *walk);

/* The kernel's number for a map, to tell whether two file descriptors are one map. 0 or -errno. */
int map_id(int fd, __u32 *id);

#endif
