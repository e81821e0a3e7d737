/* SPDX-License-Identifier: BSD-3-Clause */
/* Choosing devices: EAL's allow list with its devargs, names, or all there are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <limits.h>

#include <rte_common.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_kvargs.h>
#include <rte_pci.h>

#include "device_choice.h"
#include "engine.h"

/* What there is. */
struct known {
	struct ibv_device *const *list;
	uint32_t n;
};

static const struct kvr_device_options no_options = {-1, -1, -1, -1, -1, -1};

static const struct option_key {
	const char *name;
	size_t offset;
	long min, max;
	const char *allowed;
} option_keys[] = {
	{"port", offsetof(struct kvr_device_options, port), 1, 255, "1 to 255"},
	{"gid", offsetof(struct kvr_device_options, gid), 0, 255, "0 to 255"},
	{"sl", offsetof(struct kvr_device_options, sl), 0, 15, "0 to 15"},
	{"tc", offsetof(struct kvr_device_options, tc), 0, 255, "0 to 255"},
	{"lanes", offsetof(struct kvr_device_options, lanes), 1, KVR_MAX_DEVICE_LANES, "1 to 8"},
	{"mtu", offsetof(struct kvr_device_options, mtu), 256, 4096,
	 "256, 512, 1024, 2048 or 4096"},
};
static_assert(KVR_MAX_DEVICE_LANES == 8, "the text of the allowed values says so");

void
kvr_device_bdf(const struct ibv_device *ibv, char *bdf, size_t size)
{
	char path[PATH_MAX], real[PATH_MAX];
	const char *slash;

	snprintf(path, sizeof(path), "%s/device", ibv->ibdev_path);
	bdf[0] = '\0';
	if (realpath(path, real) == NULL)
		return;
	slash = strrchr(real, '/');
	if (slash != NULL && strlen(slash + 1) < size)
		strcpy(bdf, slash + 1);
}

static bool
bdf_equal(const char *a, const char *b)
{
	struct rte_pci_addr pa, pb;

	return rte_pci_addr_parse(a, &pa) == 0 && rte_pci_addr_parse(b, &pb) == 0 &&
	       rte_pci_addr_cmp(&pa, &pb) == 0;
}

/* ---- what is asked for ---- */

/* "mlx5_0 (0000:3b:00.0), ..." of what there is, for error messages. */
static const char *
known_devices(const struct known *known, char *text, size_t size)
{
	size_t at = 0;
	uint32_t i;

	text[0] = '\0';
	for (i = 0; i < known->n && at < size; i++) {
		char bdf[16];

		kvr_device_bdf(known->list[i], bdf, sizeof(bdf));
		at += (size_t)snprintf(text + at, size - at, "%s%s (%s)", i == 0 ? "" : ", ",
				       known->list[i]->name, bdf);
	}
	return text;
}

static int
option_set(const char *bdf, const char *key, const char *value, struct kvr_device_options *options,
	   struct kvr_error *error)
{
	unsigned int i;

	for (i = 0; i < RTE_DIM(option_keys); i++) {
		const struct option_key *known = &option_keys[i];
		bool bad_mtu;
		char *end;
		long v;

		if (strcmp(key, known->name) != 0)
			continue;
		errno = 0;
		v = value == NULL ? -1 : strtol(value, &end, 10);
		bad_mtu = strcmp(key, "mtu") == 0 && (v & (v - 1)) != 0;
		if (value == NULL || end == value || *end != '\0' || errno != 0 || v < known->min ||
		    v > known->max || bad_mtu)
			return kvr_fail(error, -EINVAL, "-a %s,%s=%s: allowed are %s", bdf, key,
					value == NULL ? "" : value, known->allowed);
		*(int *)((char *)options + known->offset) = (int)v;
		return 0;
	}
	return kvr_fail(error, -EINVAL,
			"-a %s,%s=...: unknown key; known are port, gid, sl, tc, lanes and mtu",
			bdf, key);
}

static int
options_parse(const char *bdf, const char *args, struct kvr_device_options *options,
	      struct kvr_error *error)
{
	struct rte_kvargs *kvargs;
	unsigned int i;
	int ret = 0;

	*options = no_options;
	if (args == NULL || args[0] == '\0')
		return 0;
	kvargs = rte_kvargs_parse(args, NULL);
	if (kvargs == NULL)
		return kvr_fail(error, -EINVAL, "-a %s,%s: not a list of key=value", bdf, args);
	for (i = 0; ret == 0 && i < kvargs->count; i++)
		ret = option_set(bdf, kvargs->pairs[i].key, kvargs->pairs[i].value, options, error);
	rte_kvargs_free(kvargs);
	return ret;
}

static int
choice_add(struct kvr_device_choice *choices, uint32_t *n, struct ibv_device *ibv,
	   struct kvr_error *error)
{
	uint32_t i;

	for (i = 0; i < *n; i++)
		if (choices[i].ibv == ibv)
			return kvr_fail(error, -EINVAL, "device %s is given twice", ibv->name);
	if (*n == KVR_MAX_DEVICES)
		return kvr_fail(error, -EINVAL, "device %s: more than %d devices", ibv->name,
				KVR_MAX_DEVICES);
	choices[*n] =
		(struct kvr_device_choice){.ibv = ibv, .options = no_options, .explicit = true};
	kvr_device_bdf(ibv, choices[*n].bdf, sizeof(choices[*n].bdf));
	*n += 1;
	return 0;
}

/* EAL takes -a of a device that does not exist without a word, so we look. */
static int
choose_allowed(const struct known *known, struct kvr_device_choice *choices, uint32_t *n,
	       struct kvr_error *error)
{
	struct rte_devargs *da;

	RTE_EAL_DEVARGS_FOREACH ("pci", da) {
		struct ibv_device *ibv = NULL;
		char text[192];
		uint32_t i;
		int ret;

		if (da->policy != RTE_DEV_ALLOWED)
			continue;
		for (i = 0; i < known->n && ibv == NULL; i++) {
			char bdf[16];

			kvr_device_bdf(known->list[i], bdf, sizeof(bdf));
			if (bdf_equal(bdf, da->name))
				ibv = known->list[i];
		}
		if (ibv == NULL)
			return kvr_fail(error, -ENODEV, "-a %s is no RDMA device; known are: %s",
					da->name, known_devices(known, text, sizeof(text)));
		ret = choice_add(choices, n, ibv, error);
		if (ret == 0)
			ret = options_parse(da->name, da->args, &choices[*n - 1].options, error);
		if (ret != 0)
			return ret;
	}
	return 0;
}

/* Was the device given with -b? */
static bool
is_blocked(const char *bdf)
{
	struct rte_devargs *da;

	RTE_EAL_DEVARGS_FOREACH ("pci", da) {
		if (da->policy == RTE_DEV_BLOCKED && bdf_equal(bdf, da->name))
			return true;
	}
	return false;
}

static int
choose_name(const struct known *known, const char *name, const struct kvr_device_choice *allowed,
	    uint32_t n_allowed, struct kvr_device_choice *choices, uint32_t *n,
	    struct kvr_error *error)
{
	struct ibv_device *ibv = NULL;
	char text[192];
	uint32_t i;
	int ret;

	for (i = 0; i < known->n && ibv == NULL; i++)
		if (strcmp(known->list[i]->name, name) == 0)
			ibv = known->list[i];
	if (ibv == NULL)
		return kvr_fail(error, -ENODEV, "no RDMA device is named '%s'; known are: %s", name,
				known_devices(known, text, sizeof(text)));
	ret = choice_add(choices, n, ibv, error);
	if (ret != 0 || n_allowed == 0)
		return ret;
	for (i = 0; i < n_allowed; i++) {
		if (allowed[i].ibv == ibv) {
			choices[*n - 1].options = allowed[i].options;
			return 0;
		}
	}
	return kvr_fail(error, -EINVAL,
			"device %s is named, but EAL's allow list lacks it: add -a %s", name,
			choices[*n - 1].bdf);
}

static int
choose_names(const struct known *known, const char *names, const struct kvr_device_choice *allowed,
	     uint32_t n_allowed, struct kvr_device_choice *choices, uint32_t *n,
	     struct kvr_error *error)
{
	char *copy = strdup(names), *at = copy, *name;
	int ret = 0;

	if (copy == NULL)
		return kvr_fail(error, -ENOMEM, "out of memory");
	while (ret == 0 && (name = strsep(&at, ",")) != NULL)
		ret = choose_name(known, name, allowed, n_allowed, choices, n, error);
	free(copy);
	return ret;
}

int
kvr_device_choose(struct ibv_device *const *list, uint32_t n_known, const char *names,
		  struct kvr_device_choice *choices, uint32_t *n, struct kvr_error *error)
{
	const struct known known = {list, n_known};
	struct kvr_device_choice allowed[KVR_MAX_DEVICES];
	uint32_t n_allowed = 0;
	uint32_t i;
	int ret;

	ret = choose_allowed(&known, allowed, &n_allowed, error);
	if (ret != 0)
		return ret;
	if (names != NULL)
		return choose_names(&known, names, allowed, n_allowed, choices, n, error);
	if (n_allowed > 0) {
		memcpy(choices, allowed, n_allowed * sizeof(*choices));
		*n = n_allowed;
		return 0;
	}
	for (i = 0; i < known.n && *n < KVR_MAX_DEVICES; i++) {
		char bdf[16];

		kvr_device_bdf(known.list[i], bdf, sizeof(bdf));
		if (is_blocked(bdf))
			continue;
		ret = choice_add(choices, n, known.list[i], error);
		if (ret != 0)
			return ret;
		choices[*n - 1].explicit = false;
	}
	return 0;
}
