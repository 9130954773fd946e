/* SPDX-License-Identifier: GPL-2.0-only */
/* The BPF object inside the binary: into the kernel, and its pins onto a bpffs. */
#ifndef CLATCH_OBJECT_H
#define CLATCH_OBJECT_H

#include <bpf/libbpf.h>
#include <clatch/meta.h>

/*
 * Keeps libbpf quiet, and what it says for object_log().  To be called before anything else of
 * libbpf.
 */
void object_capture_log(void);
/* The end of what libbpf and the verifier said; "" if nothing. */
const char *object_log(void);

/*
 * Loads the maps and programs: meta->audit and meta->max_latches are their settings.  0 and
 * *object, to be closed by bpf_object__close(); or -errno.
 */
int object_load(struct bpf_object **object, const struct clatch_meta *meta);

/*
 * The same of the gateway's programs, which use what is pinned below @dir.  Their own maps and they
 * are pinned by object_pin_gateway().
 */
int object_load_gateway(struct bpf_object **object, const char *dir, __u32 audit);
int object_pin_gateway(struct bpf_object *object, const char *dir);

/* Pins all maps but clatch_meta, and the programs, below @dir. */
int object_pin(struct bpf_object *object, const char *dir);
/* Writes the record and pins it: from now on this instance is loaded. */
int object_finish(struct bpf_object *object, const char *dir, const struct clatch_meta *meta);

#endif
