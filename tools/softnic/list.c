/* SPDX-License-Identifier: BSD-3-Clause */
/* `softnic list`: an instance as one JSON document, and that document as text. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <jansson.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/rdma_user_cm.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "instance.h"
#include "list.h"

static const char *const qp_states[] = {"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERR"};

static const char *const counter_names[SN_N_COUNTERS] = {
	[SN_CNT_XMIT_BYTES] = "xmit_bytes",
	[SN_CNT_RCV_BYTES] = "rcv_bytes",
	[SN_CNT_XMIT_PACKETS] = "xmit_packets",
	[SN_CNT_RCV_PACKETS] = "rcv_packets",
	[SN_CNT_RX_WRITES] = "rx_write_requests",
	[SN_CNT_RX_READS] = "rx_read_requests",
	[SN_CNT_RX_ATOMICS] = "rx_atomic_requests",
	[SN_CNT_OUT_OF_BUFFER] = "out_of_buffer",
	[SN_CNT_ACK_TIMEOUTS] = "local_ack_timeout_err",
	[SN_CNT_PSN_ERRORS] = "packet_seq_err",
	[SN_CNT_REQ_CQE_ERRORS] = "req_cqe_error",
	[SN_CNT_RESP_CQE_ERRORS] = "resp_cqe_error",
	[SN_CNT_REQ_ACCESS_ERRORS] = "req_remote_access_errors",
	[SN_CNT_RESP_ACCESS_ERRORS] = "resp_remote_access_errors",
	[SN_CNT_STRICT_VIOLATIONS] = "strict_violations",
	[SN_CNT_INJECTED_FAULTS] = "injected_faults",
};

static const struct {
	uint32_t flag;
	const char *name;
} access_flags[] = {
	{IBV_ACCESS_LOCAL_WRITE, "LOCAL_WRITE"},
	{IBV_ACCESS_REMOTE_WRITE, "REMOTE_WRITE"},
	{IBV_ACCESS_REMOTE_READ, "REMOTE_READ"},
	{IBV_ACCESS_REMOTE_ATOMIC, "REMOTE_ATOMIC"},
	{IBV_ACCESS_ZERO_BASED, "ZERO_BASED"},
	{IBV_ACCESS_HUGETLB, "HUGETLB"},
	{IBV_ACCESS_RELAXED_ORDERING, "RELAXED_ORDERING"},
};

static json_t *
describe_access(uint32_t access)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(access_flags) / sizeof(access_flags[0]); i++) {
		if (access & access_flags[i].flag)
			json_array_append_new(list, json_string(access_flags[i].name));
	}
	return list;
}

static json_t *
describe_device_name(unsigned int device)
{
	return json_sprintf("mlx5_%u", device);
}

static json_t *
describe_devices(const struct sn_shm *shm)
{
	json_t *list = json_array();

	for (uint32_t device = 0; device < shm->fabric.n_devices; device++) {
		json_t *counters = json_object();

		for (unsigned int i = 0; i < SN_N_COUNTERS; i++)
			json_object_set_new(counters, counter_names[i],
					    json_integer((json_int_t)atomic_load(
						    &shm->device[device].counter[i])));
		json_array_append_new(
			list, json_pack("{s:o, s:o, s:o}", "name", describe_device_name(device),
					"pci", json_sprintf(SN_PCI_DOMAIN ":%02x:00.0", device + 1),
					"counters", counters));
	}
	return list;
}

static json_t *
describe_members(struct sn_shm *shm)
{
	json_t *list = json_array();

	for (uint32_t slot = 0; slot < atomic_load(&shm->n_members); slot++) {
		const struct sn_shm_member *m = &shm->member[slot];

		if (!sn_instance_check_member(shm, slot))
			continue;
		json_array_append_new(list, json_pack("{s:i, s:s, s:s}", "pid", (int)m->pid, "name",
						      m->name, "kind",
						      m->kind == SN_LAUNCHER ? "launcher" : "nic"));
	}
	return list;
}

static const char *
describe_type(uint8_t type)
{
	switch (type) {
	case IB_UVERBS_QPT_RC:
		return "RC";
	case IB_UVERBS_QPT_UC:
		return "UC";
	default:
		return "UD";
	}
}

static json_t *
describe_qps(struct sn_shm *shm)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < SN_MAX_QPS; i++) {
		const struct sn_shm_qp *qp = &shm->qp[i];
		uint64_t owner = atomic_load(&qp->owner);
		uint32_t qpn = atomic_load(&qp->qpn), state = atomic_load(&qp->state);

		if (!owner || !qpn || state > IBV_QPS_ERR || !sn_member_lives(shm, owner))
			continue;
		json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:o, s:i, s:i}", "qpn",
						      (int)qpn, "type", describe_type(qp->type),
						      "state", qp_states[state], "device",
						      describe_device_name(qp->device), "pid",
						      (int)shm->member[SN_ID_SLOT(owner)].pid,
						      "dest_qpn", (int)qp->dest_qpn));
	}
	return list;
}

static json_t *
describe_mrs(struct sn_shm *shm)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < SN_MAX_MRS; i++) {
		const struct sn_shm_mr *mr = &shm->mr[i];
		uint64_t owner = atomic_load(&mr->owner);

		if (!owner || !atomic_load(&mr->serial) || !sn_member_lives(shm, owner))
			continue;
		json_array_append_new(list, json_pack("{s:I, s:I, s:I, s:o, s:o, s:i, s:b}", "key",
						      (json_int_t)mr->key, "address",
						      (json_int_t)mr->start, "length",
						      (json_int_t)mr->len, "access",
						      describe_access(mr->access), "device",
						      describe_device_name(mr->device), "pid",
						      (int)shm->member[SN_ID_SLOT(owner)].pid,
						      "mapped", mr->n_extents > 0));
	}
	return list;
}

static const char *
space_name(uint16_t space)
{
	return space == RDMA_PS_TCP ? "TCP" : space == RDMA_PS_UDP ? "UDP" : "other";
}

static json_t *
describe_listeners(struct sn_shm *shm)
{
	json_t *list = json_array();
	char addr[INET6_ADDRSTRLEN];

	for (uint32_t i = 0; i < atomic_load(&shm->n_cm_ports); i++) {
		const struct sn_shm_cm_port *port = &shm->cm_port[i];
		uint64_t owner = atomic_load(&port->owner);

		if (!owner || !port->listener ||
		    !sn_instance_check_member(shm, SN_ID_SLOT(owner)) ||
		    !sn_member_lives(shm, owner))
			continue;
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:i, s:i}", "space",
						space_name(port->space), "address",
						inet_ntop(AF_INET6, port->addr, addr, sizeof(addr)),
						"port", (int)port->port, "pid",
						(int)shm->member[SN_ID_SLOT(owner)].pid));
	}
	return list;
}

/* ---- text ---- */

static void
print_value(const char *key, const json_t *value)
{
	if (json_is_string(value)) {
		printf(" %s=%s", key, json_string_value(value));
	} else if (json_is_boolean(value)) {
		printf(" %s=%s", key, json_is_true(value) ? "yes" : "no");
	} else if (json_is_integer(value)) {
		bool hex = !strcmp(key, "key") || !strcmp(key, "address") || strstr(key, "qpn");

		printf(hex ? " %s=0x%llx" : " %s=%lld", key, json_integer_value(value));
	} else if (json_is_array(value)) {
		printf(" %s=", key);
		for (size_t i = 0; i < json_array_size(value); i++)
			printf("%s%s", i ? "|" : "", json_string_value(json_array_get(value, i)));
	}
}

static void
print_table(const char *title, const json_t *rows)
{
	size_t i;
	json_t *row, *value;
	const char *key;

	json_array_foreach (rows, i, row) {
		printf("  %s", title);
		json_object_foreach (row, key, value)
			print_value(key, value);
		json_object_foreach (json_object_get(row, "counters"), key, value) {
			if (json_integer_value(value))
				print_value(key, value);
		}
		putchar('\n');
	}
}

static void
print_text(const json_t *doc)
{
	printf("instance %s: %s\n", json_string_value(json_object_get(doc, "instance")),
	       json_string_value(json_object_get(doc, "options")));
	print_table("device", json_object_get(doc, "devices"));
	print_table("process", json_object_get(doc, "processes"));
	print_table("qp", json_object_get(doc, "qps"));
	print_table("mr", json_object_get(doc, "mrs"));
	print_table("listener", json_object_get(doc, "listeners"));
}

/* ---- which instances ---- */

/* What those who join must ask for. */
static json_t *
describe_options(const struct sn_fabric *fabric)
{
	char devices[32], wire[32];

	sn_fabric_format(fabric, "devices", devices, sizeof(devices));
	sn_fabric_format(fabric, "wire", wire, sizeof(wire));
	return json_sprintf("%s %s", devices, wire);
}

static json_t *
describe_instance(const char *name)
{
	struct sn_instance inst;
	json_t *doc;

	if (sn_instance_look(&inst, name))
		return NULL;
	doc = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "instance", name, "options",
			describe_options(&inst.shm->fabric), "devices", describe_devices(inst.shm),
			"processes", describe_members(inst.shm), "qps", describe_qps(inst.shm),
			"mrs", describe_mrs(inst.shm), "listeners", describe_listeners(inst.shm));
	sn_instance_unmap(&inst);
	return doc;
}

static json_t *
describe_all(void)
{
	char prefix[64];
	json_t *list = json_array();
	DIR *dir = opendir("/dev/shm");
	struct dirent *entry;

	snprintf(prefix, sizeof(prefix), "softnic-%u-", (unsigned int)geteuid());
	while (dir && (entry = readdir(dir))) {
		json_t *doc = NULL;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			doc = describe_instance(entry->d_name + strlen(prefix));
		if (doc)
			json_array_append_new(list, doc);
	}
	if (dir)
		closedir(dir);
	return list;
}

int
sn_list(const char *name, bool as_json)
{
	json_t *list, *doc;
	size_t i;

	if (name) {
		doc = describe_instance(name);
		list = json_array();
		if (doc)
			json_array_append_new(list, doc);
	} else {
		list = describe_all();
	}
	if (as_json) {
		json_dumpf(list, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		json_array_foreach (list, i, doc)
			print_text(doc);
	}
	json_decref(list);
	return fflush(stdout) == 0 ? 0 : 125;
}
