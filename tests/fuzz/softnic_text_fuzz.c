/* SPDX-License-Identifier: BSD-3-Clause */
/* What people and the environment hand to softnic as text. */
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "fuzz.h"
#include "instance.h"
#include "settings.h"

const char fuzz_settings[] = "devices=2\nstep=100000\n";

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

/* The first byte says whose text the rest is. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct sn_shm_faults faults[SN_MAX_DEVICES];
	struct sn_settings settings;
	char error[32], dir[96], text[128]; /* small: a message that is cut must end all the same */
	char *input;

	if (bytes == 0)
		return 0;
	input = malloc(bytes);
	memcpy(input, data + 1, bytes - 1);
	input[bytes - 1] = '\0';
	memset(error, 'x', sizeof(error));
	switch (data[0] % 3) {
	case 0:
		sn_settings_init(&settings);
		if (sn_settings_parse(&settings, input, error, sizeof(error))) {
			if (!memchr(error, '\0', sizeof(error)) || strchr(error, '\n'))
				abort();
		} else {
			sn_settings_check(&settings, error, sizeof(error));
			sn_fabric_format(&settings.fabric, "devices", text, sizeof(text));
		}
		break;
	case 1:
		/* Whatever names an instance stays below /dev/shm. */
		if (sn_instance_dir(input, dir, sizeof(dir)) == 0 &&
		    (strncmp(dir, "/dev/shm/softnic-", 17) != 0 || strchr(dir + 17, '/')))
			abort();
		break;
	case 2:
		if (sn_faults_parse(faults, 2, input, 1, error, sizeof(error)) &&
		    (!memchr(error, '\0', sizeof(error)) || strchr(error, '\n')))
			abort();
		break;
	}
	free(input);
	return 0;
}
