/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SN_CTL_H
#define SN_CTL_H

/* Do what argv[0..argc) says to the instance @name. Returns the program's exit status. */
int sn_ctl(const char *name, int argc, char **argv);

#endif
