/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "options.h"
#include "version.h"

void
bench_options_help(void)
{
	puts("usage: kvrail-bench [EAL options] -- --mode target|initiator [options]\n"
	     "\n"
	     "EAL options choose cores and devices: -l 0,1 (first: control, others: pollers),\n"
	     "-a BDF, --in-memory. Client threads run on the CPUs that pollers leave, if there\n"
	     "are two or more, else on all. Options after -- are spelled with - or _; sizes\n"
	     "take K, M, G.\n"
	     "\n"
	     "target\n"
	     "  --listen HOST:PORT       where initiators connect (127.0.0.1:0); also\n"
	     "                           --local-server-name\n"
	     "  --buffer-size SIZE       the pool it offers (1G)\n"
	     "  --segment-name NAME      the pool's name (pool0)\n"
	     "\n"
	     "initiator\n"
	     "  --segment-id HOST:PORT   the target\n"
	     "  --segment-name NAME      its segment (the first)\n"
	     "  --operation read|write   (read)\n"
	     "  --block-size SIZE        of one transfer (64K)\n"
	     "  --batch-size N           transfers of a batch (128)\n"
	     "  --threads N              clients, one batch in flight each (12)\n"
	     "  --duration SEC           (10; of each point of a sweep 1)\n"
	     "  --buffer-size SIZE       local memory (1G)\n"
	     "  --hot                    every transfer uses the same block\n"
	     "  --level sent|visible     what a write's end means (visible)\n"
	     "  --priority bulk|latency  (bulk)\n"
	     "  --verify                 check every byte where it arrives\n"
	     "  --linger SEC             stay, with telemetry, after the result (0)\n"
	     "  --report-unit UNIT       GB, GiB, Gb, MB, MiB, Mb, KB, KiB, Kb (GB)\n"
	     "  --report-precision N     decimals (2)\n"
	     "  --json FILE              the result and the machine's description\n"
	     "\n"
	     "initiator, sweep over settings\n"
	     "  --sweep KEY=FROM..TO,... block-size, batch-size, threads: powers of two; says "
	     "which\n"
	     "                           setting is best for bandwidth and for latency\n"
	     "\n"
	     "initiator, replay of a request trace\n"
	     "  --trace FILE.jsonl       blocks already in the target's pool are read, others\n"
	     "                           written\n"
	     "  --kv-bytes-per-token N   (64); a block holds 512 tokens\n"
	     "  --layers N               pieces of a block (1)\n"
	     "  --pool-blocks N          blocks the pool keeps, least recently used leave (all)\n"
	     "  --speedup X|max          of the timestamps (1)\n"
	     "\n"
	     "both\n"
	     "  --device-name A,B        devices (EAL's -a, or all)\n"
	     "  --timeout SEC            a batch's deadline (5)\n"
	     "  --slice-size SIZE        cut of large transfers (256K)\n"
	     "  --cross-numa             pollers may move memory of other NUMA nodes\n"
	     "  --help, --version");
}

void
bench_options_version(void)
{
	printf("kvrail-bench %s (%s)\n", KVRAIL_VERSION, KVRAIL_GIT);
}
