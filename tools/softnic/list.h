/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SN_LIST_H
#define SN_LIST_H

#include <stdbool.h>

/* Print the running instance @name, or with NULL all of this user's. Returns an exit status. */
int sn_list(const char *name, bool as_json);

#endif
