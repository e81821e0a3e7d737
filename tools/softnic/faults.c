/* SPDX-License-Identifier: BSD-3-Clause */
/* What was asked for: the grammar of faults.h, and its home in the shared state. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared.h"

const char *const sn_fault_names[SN_N_FAULTS] = {
	[SN_FAULT_DROP] = "drop",	  [SN_FAULT_CORRUPT] = "corrupt",
	[SN_FAULT_DUPLICATE] = "dup",	  [SN_FAULT_DELAY] = "delay",
	[SN_FAULT_RNR] = "rnr",		  [SN_FAULT_CQ_OVERRUN] = "cq_overrun",
	[SN_FAULT_QP_ERROR] = "qp_error",
};
static const char *const outage_names[SN_N_OUTAGES] = {
	[SN_OUTAGE_PORT_DOWN] = "port_down",
	[SN_OUTAGE_STALL] = "stall",
	[SN_OUTAGE_DEATH] = "death",
};

/* ---- values ---- */

/* 2s, 500ms, 50us, 10ns; moves *@text behind it. */
static bool
parse_time(const char **text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
	char *end;
	double value = strtod(*text, &end);

	if (!isdigit((unsigned char)**text) || value > 1e6)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(units[i].unit);

		if (strncmp(end, units[i].unit, n) != 0)
			continue;
		*ns = (uint64_t)(value * units[i].ns);
		*text = end + n;
		return true;
	}
	return false;
}

static bool
parse_count(const char **text, uint32_t *count)
{
	char *end;
	unsigned long n = strtoul(*text + 1, &end, 10);

	if (!isdigit((unsigned char)(*text)[1]) || n == 0 || n > UINT32_MAX)
		return false;
	*count = (uint32_t)n;
	*text = end;
	return true;
}

static bool
parse_fault(struct sn_shm_fault *to, enum sn_fault fault, const char *how)
{
	uint64_t chance = 0, delay_ns = 0;
	uint32_t left = 0;
	bool repeats = *how == '/';

	if (*how == '#' || *how == '/') {
		if (!parse_count(&how, &left))
			return false;
	} else {
		char *end;
		double p = strtod(how, &end);

		if (!isdigit((unsigned char)*how) || p > 1)
			return false;
		chance = (uint64_t)(p * 4294967296.0);
		how = end;
	}
	if (fault == SN_FAULT_DELAY && (chance || left)) {
		if (*how++ != ':' || !parse_time(&how, &delay_ns))
			return false;
	}
	if (*how)
		return false;
	atomic_store(&to->delay_ns, delay_ns);
	atomic_store(&to->chance, chance);
	atomic_store(&to->every, repeats ? left : 0);
	atomic_store(&to->left, left);
	return true;
}

static bool
parse_outage(struct sn_shm_outage *to, uint64_t now_ns, const char *when)
{
	uint64_t after_ns, length_ns = UINT64_MAX, period_ns = 0;

	if (!parse_time(&when, &after_ns))
		return false;
	if (*when == '+') {
		when++;
		if (!parse_time(&when, &length_ns) || length_ns == 0)
			return false;
		if (*when == '/') {
			when++;
			if (!parse_time(&when, &period_ns) || period_ns <= length_ns)
				return false;
		}
	}
	if (*when)
		return false;
	atomic_store(&to->length_ns, 0); /* nobody sees half of each */
	atomic_store(&to->start_ns, now_ns + after_ns);
	atomic_store(&to->period_ns, period_ns);
	atomic_store(&to->length_ns, length_ns);
	return true;
}

/* ---- items ---- */

static int
index_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++) {
		if (names[i] && strcmp(names[i], name) == 0)
			return i;
	}
	return -1;
}

static bool
parse_value(struct sn_shm_faults *to, int fault, int outage, uint64_t now_ns, const char *value)
{
	return fault >= 0 ? parse_fault(&to->fault[fault], (enum sn_fault)fault, value)
			  : parse_outage(&to->outage[outage], now_ns, value);
}

/* FAULT[@mlx5_N]=HOW or OUTAGE[@mlx5_N]=WHEN; cuts @item to pieces. */
static int
parse_item(struct sn_shm_faults *faults, unsigned int n_devices, char *item, uint64_t now_ns,
	   char *error, size_t error_bytes)
{
	unsigned int device = 0, end = n_devices;
	char *value = strchr(item, '='), *at;
	int fault, outage, n = 0;

	if (value)
		*value++ = '\0';
	at = strchr(item, '@');
	if (at)
		*at++ = '\0';
	fault = index_of(item, sn_fault_names, SN_N_FAULTS);
	outage = index_of(item, outage_names, SN_N_OUTAGES);
	if (!value || (fault < 0 && outage < 0)) {
		snprintf(error, error_bytes,
			 "'%s': give FAULT=HOW with drop, corrupt, dup, delay, rnr, cq_overrun or "
			 "qp_error, or OUTAGE=WHEN with port_down, stall or death",
			 item);
		return -EINVAL;
	}
	if (at && (sscanf(at, "mlx5_%1u%n", &device, &n) != 1 || at[n] || device >= n_devices)) {
		snprintf(error, error_bytes, "'%s@%s': the devices are mlx5_0 to mlx5_%u", item, at,
			 n_devices - 1);
		return -EINVAL;
	}
	if (at)
		end = device + 1;
	for (; device < end; device++) {
		if (parse_value(&faults[device], fault, outage, now_ns, value))
			continue;
		snprintf(error, error_bytes, "'%s=%s': give %s", item, value,
			 fault == SN_FAULT_DELAY ? "0.01:50us, #N:TIME, /N:TIME or 0"
			 : fault >= 0		 ? "a chance from 0 to 1, #N or /N"
						 : "AFTER[+LENGTH[/PERIOD]], as 2s+500ms/3s");
		return -EINVAL;
	}
	return 0;
}

int
sn_faults_parse(struct sn_shm_faults *faults, unsigned int n_devices, const char *spec,
		uint64_t now_ns, char *error, size_t error_bytes)
{
	char *copy, *rest, *item;
	int err;

	if (!sn_is_printable(spec)) {
		snprintf(error, error_bytes, "control characters in it: see softnic --help");
		return -EINVAL;
	}
	copy = rest = strdup(spec);
	err = copy ? 0 : -ENOMEM;
	while (!err && (item = strsep(&rest, ",")))
		err = parse_item(faults, n_devices, item, now_ns, error, error_bytes);
	free(copy);
	return err;
}

/* ---- the shared state ---- */

static uint64_t
now_of(const struct sn_shm *shm)
{
	return shm->fabric.step_ns ? atomic_load(&shm->step_clock_ns) : sn_now_ns();
}

int
sn_faults_set(struct sn_shm *shm, const char *spec, char *error, size_t error_bytes)
{
	int err = sn_faults_parse(shm->faults, shm->fabric.n_devices, spec, now_of(shm), error,
				  error_bytes);

	atomic_fetch_or(&shm->faulty, SN_FAULTY_RULES);
	return err;
}

void
sn_faults_clear(struct sn_shm *shm, unsigned int device)
{
	struct sn_shm_faults *faults = &shm->faults[device];

	for (unsigned int i = 0; i < SN_N_FAULTS; i++) {
		atomic_store(&faults->fault[i].chance, 0);
		atomic_store(&faults->fault[i].left, 0);
	}
	for (unsigned int i = 0; i < SN_N_OUTAGES; i++)
		atomic_store(&faults->outage[i].length_ns, 0);
}

bool
sn_outage_is_on(const struct sn_shm_outage *outage, uint64_t now_ns)
{
	uint64_t length_ns = atomic_load_explicit(&outage->length_ns, memory_order_acquire);
	uint64_t start_ns = atomic_load_explicit(&outage->start_ns, memory_order_relaxed);
	uint64_t period_ns = atomic_load_explicit(&outage->period_ns, memory_order_relaxed);
	uint64_t since_ns = now_ns - start_ns;

	if (length_ns == 0 || now_ns < start_ns)
		return false;
	return (period_ns ? since_ns % period_ns : since_ns) < length_ns;
}
