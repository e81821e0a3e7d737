/* SPDX-License-Identifier: BSD-3-Clause */
/* `softnic ctl`: do something to the devices of a running instance. */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ctl.h"
#include "instance.h"
#include "link.h"

#define EXIT_OWN_ERROR 125
#define BREAK_MS       2000

static int
refuse(const char *what, const char *value, const char *remedy)
{
	fprintf(stderr, "softnic: ctl: %s '%s': %s\n", what, value, remedy);
	return EXIT_OWN_ERROR;
}

/* ---- a QP ---- */

static bool
qp_lives(struct sn_shm *shm, uint32_t qpn)
{
	const struct sn_shm_qp *qp = &shm->qp[qpn % SN_MAX_QPS];
	uint64_t owner = atomic_load(&qp->owner);

	return qpn && atomic_load(&qp->qpn) == qpn && owner && sn_member_lives(shm, owner);
}

static int
control_qp(struct sn_shm *shm, const char *name, const char *command)
{
	char *end;
	uint32_t none = 0, qpn = (uint32_t)strtoul(name, &end, 0);

	if (*end || !qp_lives(shm, qpn))
		return refuse("qp", name, "no such QP; softnic list shows them");
	if (strcmp(command, "error") != 0)
		return refuse("command", command, "for a QP there is error");
	if (!atomic_compare_exchange_strong(&shm->qpn_to_break, &none, qpn))
		return refuse("qp", name, "another ctl is at work, try again");
	atomic_fetch_or(&shm->faulty, SN_FAULTY_QP);
	for (unsigned int i = 0; i < BREAK_MS; i++) {
		if (atomic_load(&shm->qpn_to_break) != qpn)
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	atomic_store(&shm->qpn_to_break, 0);
	return refuse("qp", name, "its process does not answer");
}

/* ---- a device ---- */

static int
set(struct sn_shm *shm, const char *fault, unsigned int device, const char *value)
{
	char spec[128], error[256];

	snprintf(spec, sizeof(spec), "%s@mlx5_%u=%s", fault, device, value);
	if (sn_faults_set(shm, spec, error, sizeof(error)) == 0)
		return 0;
	fprintf(stderr, "softnic: ctl: %s\n", error);
	return EXIT_OWN_ERROR;
}

static int
stall(struct sn_shm *shm, unsigned int device, const char *ms)
{
	char value[64];
	char *end;
	unsigned long n = strtoul(ms, &end, 10);

	if (end == ms || *end || n == 0 || n > 3600000)
		return refuse("stall", ms, "give milliseconds, 1 to 3600000");
	snprintf(value, sizeof(value), "0s+%lums", n);
	return set(shm, "stall", device, value);
}

static int
set_link(struct sn_instance *inst, unsigned int device, enum sn_link_state state)
{
	/* A later word than the schedule's. */
	atomic_store(&inst->shm->faults[device].outage[SN_OUTAGE_PORT_DOWN].length_ns, 0);
	if (state != SN_LINK_DEAD && sn_link_state(inst->shm, device) == SN_LINK_DEAD) {
		fprintf(stderr, "softnic: ctl: mlx5_%u is dead: start the instance anew\n", device);
		return EXIT_OWN_ERROR;
	}
	sn_link_set(inst->dir, inst->shm, device, state);
	return 0;
}

static int
control_device(struct sn_instance *inst, unsigned int device, const char *command,
	       const char *value)
{
	if (!strcmp(command, "down") && !value)
		return set_link(inst, device, SN_LINK_DOWN);
	if (!strcmp(command, "up") && !value)
		return set_link(inst, device, SN_LINK_UP);
	if (!strcmp(command, "kill") && !value)
		return set_link(inst, device, SN_LINK_DEAD);
	if (!strcmp(command, "clear") && !value) {
		sn_faults_clear(inst->shm, device);
		if (sn_link_state(inst->shm, device) == SN_LINK_DOWN)
			sn_link_set(inst->dir, inst->shm, device, SN_LINK_UP);
		return 0;
	}
	if (!value)
		return refuse("command", command,
			      "without a value there are up, down, kill and clear");
	if (!strcmp(command, "stall"))
		return stall(inst->shm, device, value);
	return set(inst->shm, command, device, value);
}

static int
control(struct sn_instance *inst, int argc, char **argv)
{
	unsigned int device;
	int n = 0;

	if (argc == 3 && !strcmp(argv[0], "qp"))
		return control_qp(inst->shm, argv[1], argv[2]);
	if (argc != 2 && argc != 3) {
		fputs("softnic: ctl: give a device and a command, as mlx5_0 down; see softnic "
		      "--help\n",
		      stderr);
		return EXIT_OWN_ERROR;
	}
	if (sscanf(argv[0], "mlx5_%1u%n", &device, &n) != 1 || argv[0][n] ||
	    device >= inst->shm->fabric.n_devices)
		return refuse("device", argv[0], "the instance has no such device");
	return control_device(inst, device, argv[1], argc == 3 ? argv[2] : NULL);
}

int
sn_ctl(const char *name, int argc, char **argv)
{
	struct sn_instance inst;
	int status, err = sn_instance_look(&inst, name);

	if (err)
		return refuse("instance", name,
			      err == -ENOENT ? "it is not running" : strerror(-err));
	status = control(&inst, argc, argv);
	sn_instance_unmap(&inst);
	return status;
}
