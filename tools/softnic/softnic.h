/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits, names and small helpers shared by the launcher and the preloaded library. */
#ifndef SOFTNIC_H
#define SOFTNIC_H

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define SN_VERSION "0.1.0"

/* What one instance can hold. Tables are sparse: unused entries cost no memory. */
#define SN_MAX_DEVICES	   8
#define SN_MAX_MEMBERS	   256
#define SN_MAX_QPS	   65536      /* a QPN is generation << 16 | index */
#define SN_MAX_CQE	   (1u << 22) /* of one CQ */
#define SN_MAX_MRS	   65536      /* a key is variant << 24 | index << 8 | variant */
#define SN_MAX_CM_PORTS	   16384
#define SN_DEFAULT_DEVICES 2

/* The launcher speaks to the library through these. */
#define SN_ENV_INSTANCE		"SOFTNIC_INSTANCE"
#define SN_ENV_SETTINGS		"SOFTNIC_SETTINGS" /* settings.h */
#define SN_ENV_DEBUG		"SOFTNIC_DEBUG"
#define SN_ENV_LIB		"SOFTNIC_LIB"
#define SN_DEFAULT_INSTANCE	"default"
#define SN_DEFAULT_RELAXED	1000
#define SN_DEFAULT_RO_WINDOW_US 1000000
#define SN_DEFAULT_STEP_NS	1000

#define SN_PAGE_BYTES 4096u
#define SN_GRH_BYTES  40u
#define SN_MIN(a, b)  ((a) < (b) ? (a) : (b))
#define SN_MAX(a, b)  ((a) > (b) ? (a) : (b))

/* No control characters: what a message of one line may repeat. */
static inline bool
sn_is_printable(const char *text)
{
	while (*text && !iscntrl((unsigned char)*text))
		text++;
	return !*text;
}

extern bool sn_debug;

void sn_log_init(void);
void sn_log_write(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Quiet unless --debug: the arguments are not even evaluated. */
#define SN_LOG(...)                                                                                \
	do {                                                                                       \
		if (__builtin_expect(sn_debug, 0))                                                 \
			sn_log_write(__VA_ARGS__);                                                 \
	} while (0)

static inline uint64_t
sn_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
