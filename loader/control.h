/* SPDX-License-Identifier: GPL-2.0-only */
/* Gives orders to the packet path, which alone changes a latch (clatch/control.h). */
#ifndef CLATCH_CONTROL_RUN_H
#define CLATCH_CONTROL_RUN_H

#include <clatch/control.h>
#include <stddef.h>

/* The pinned clatch_control program of the instance at @bpffs: its file descriptor, or -errno. */
int control_open(const char *bpffs);

/*
 * Carries out @count orders, however many.  How many of them found their latch, or -errno: then
 * some may have been carried out.
 */
long control_run(int program, const struct clatch_order *orders, size_t count);

#endif
