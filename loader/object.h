/* SPDX-License-Identifier: GPL-2.0-only */
/* The BPF object inside the binary: into the kernel, and its pins onto a bpffs. */
#ifndef CLATCH_OBJECT_H
#define CLATCH_OBJECT_H

#include <clatch/meta.h>

struct object;

/* Keeps libbpf quiet, and what it says for object_log().  To be called before anything of libbpf. */
void object_capture_log(void);
/* The end of what libbpf and the verifier said; "" if nothing. */
const char *object_log(void);

/* Loads the maps and programs: meta->audit and meta->max_latches are its settings. */
int object_load(struct object **object, const struct clatch_meta *meta);
void object_free(struct object *object);

/* Pins all maps but clatch_meta, and the programs, below @dir. */
int object_pin(struct object *object, const char *dir);
/* Writes the record and pins it: from now on this instance is loaded. */
int object_finish(struct object *object, const char *dir, const struct clatch_meta *meta);

/* The file descriptor of a map, which stays the object's. */
int object_map(struct object *object, const char *name);

#endif
