/* SPDX-License-Identifier: GPL-2.0-only */
/* Variables that clean up after themselves when they go out of scope. */
#ifndef CLATCH_CLEANUP_H
#define CLATCH_CLEANUP_H

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define _cleanup_close_ __attribute__((cleanup(cleanup_close)))
#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))
#define _cleanup_closedir_ __attribute__((cleanup(cleanup_closedir)))

/* Passes ownership on. */
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int taken_fd = (fd);                                                               \
		(fd) = -1;                                                                         \
		taken_fd;                                                                          \
	})

#endif
