/* SPDX-License-Identifier: BSD-3-Clause */
#include "help.h"

#include <stdio.h>

#include "version.h"

void
node_help(void)
{
	puts("usage: kvrail-node [EAL options] -- --listen HOST:PORT --pool SIZE [options]\n"
	     "       kvrail-node [EAL options] -- --pool SIZE [options] --check\n"
	     "\n"
	     "Holds pools of blocks, serves them to peers, and copies objects to peers when\n"
	     "kvrail-ctl asks. EAL options choose cores and devices: -l 0,1 (first: control,\n"
	     "others: pollers), -a BDF, --file-prefix, --in-memory. Sizes take K, M, G, T.\n"
	     "\n"
	     "  --listen HOST:PORT     where peers connect; port 0 takes a free one\n"
	     "  --pool SIZE            shared out over the devices' NUMA nodes, or\n"
	     "         node0=SIZE,node1=SIZE...\n"
	     "  --block SIZE           of a pool's blocks (64K)\n"
	     "  --name NAME            the node's (the host's)\n"
	     "  --peer HOST:PORT       a node that objects may be copied to; again for each\n"
	     "  --device-name A,B      devices (EAL's -a, or all)\n"
	     "  --timeout SEC          a batch's deadline (5)\n"
	     "  --drain-timeout SEC    how long SIGTERM waits for what is under way (30)\n"
	     "  --slice-size SIZE      cut of large transfers (256K)\n"
	     "  --cross-numa           pollers may move memory of other NUMA nodes\n"
	     "  --insecure             listen on other addresses than loopback\n"
	     "  --config FILE          the same keys, `key = value` a line; the command line "
	     "wins\n"
	     "  --check                say how fit the machine is, and how to mend it; exit "
	     "status\n"
	     "                         0: ok, 3: warnings, 1: failures\n"
	     "  --help, --version\n"
	     "\n"
	     "SIGTERM and SIGINT drain and exit 0; a second one does not wait. SIGHUP reads the\n"
	     "peers of --config anew.");
}

void
node_version(void)
{
	printf("kvrail-node %s (%s)\n", KVRAIL_VERSION, KVRAIL_GIT);
}
