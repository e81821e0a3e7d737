/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <rte_log.h>

void
node_check_say(struct node_check *check, enum node_check_level level, const char *subject,
	       const char *format, ...)
{
	static const char *const words[] = {
		[NODE_OK] = "ok", [NODE_WARN] = "warn", [NODE_FAIL] = "fail"};
	va_list args;

	check->n_lines[level]++;
	printf("%-4s  %s: ", words[level], subject);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	puts("");
}

bool
node_check_read(const struct node_check *check, char *text, size_t size, const char *format, ...)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/", check->sysfs);
	va_list args;
	FILE *file;

	va_start(args, format);
	vsnprintf(path + n, sizeof(path) - (size_t)n, format, args);
	va_end(args);
	text[0] = '\0';
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fgets(text, (int)size, file) == NULL)
		text[0] = '\0';
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return text[0] != '\0';
}

int
node_check(const struct node_options *options)
{
	static struct node_check check;
	struct kvr_error error = {""};

	check.options = options;
	check.sysfs = "/sys";
	rte_log_set_level_pattern("kvrail*", RTE_LOG_NOTICE);
	if (kvr_devices_open(options->device_names, check.devices, &check.n_devices, &error) != 0)
		node_check_say(&check, NODE_FAIL, "devices", "%s", error.text);
	for (uint32_t i = 0; i < check.n_devices; i++)
		node_check_device(&check, &check.devices[i]);
	node_check_host(&check);
	kvr_devices_close(check.devices, check.n_devices);
	printf("%u ok, %u warn, %u fail\n", check.n_lines[NODE_OK], check.n_lines[NODE_WARN],
	       check.n_lines[NODE_FAIL]);
	return check.n_lines[NODE_FAIL] > 0   ? NODE_CHECK_FAIL
	       : check.n_lines[NODE_WARN] > 0 ? NODE_CHECK_WARN
					      : NODE_CHECK_OK;
}
