/* SPDX-License-Identifier: GPL-2.0-only */
/* Which numbers of the identity table mean somebody to the packet path. */
#ifndef CLATCH_IDS_IN_USE_H
#define CLATCH_IDS_IN_USE_H

/*
 * The highest number that stands in the maps @sas (clatch_sas), @latches (clatch_latches) and @more
 * (clatch_more), 0 = none.
 * Were its entry to go, its number would be given to another, who would be taken for the one before:
 * ids_check() it first.  0 or -errno.
 */
int ids_in_use(int sas, int latches, int more, unsigned int *highest);

#endif
