/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app_message.h"

#define MAX_LINES 1024 /* with a key; a longer file is another kind of file */

struct seen {
	char *keys[MAX_LINES];
	unsigned int n;
};

static char *
trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return text + strspn(text, " \t");
}

/* A # that begins the line, or that follows a blank. */
static void
cut_comment(char *line)
{
	for (char *at = line; (at = strchr(at, '#')) != NULL; at++)
		if (at == line || isspace((unsigned char)at[-1])) {
			*at = '\0';
			return;
		}
}

/* Remembers the key. 0, or -EINVAL with one line said: it was there before. */
static int
note_key(struct seen *seen, const char *where, const char *key)
{
	for (unsigned int i = 0; i < seen->n; i++)
		if (strcmp(seen->keys[i], key) == 0 && !node_options_repeats(key)) {
			app_message("%s%s is there a second time", where, key);
			return -EINVAL;
		}
	if (seen->n == MAX_LINES || (seen->keys[seen->n] = strdup(key)) == NULL) {
		app_message("%smore than %d keys", where, MAX_LINES);
		return -EINVAL;
	}
	seen->n++;
	return 0;
}

static int
take_line(const char *where, char *line, struct seen *seen, struct node_options *options)
{
	char *equals, *key, *value;
	int err;

	cut_comment(line);
	line = trim(line);
	if (*line == '\0')
		return 0;
	equals = strchr(line, '=');
	if (equals == NULL) {
		app_message("%s'%s' is not `key = value`", where, line);
		return -EINVAL;
	}
	*equals = '\0';
	key = trim(line);
	value = trim(equals + 1);
	for (char *at = key; *at != '\0'; at++)
		if (*at == '_')
			*at = '-';
	err = node_options_set(options, where, key, value);
	if (err == -ENOENT) {
		app_message("%sunknown key '%s' (kvrail-node --help lists them)", where, key);
		return -EINVAL;
	}
	return err != 0 ? err : note_key(seen, where, key);
}

int
node_config_load(const char *path, struct node_options *options)
{
	FILE *file = fopen(path, "re");
	struct seen seen = {.n = 0};
	unsigned int number = 0;
	char *line = NULL, where[512];
	size_t size = 0;
	int err = 0;

	if (file == NULL) {
		app_message("--config %s: %s", path, strerror(errno));
		return -EINVAL;
	}
	while (err == 0 && getline(&line, &size, file) >= 0) {
		snprintf(where, sizeof(where), "%s:%u: ", path, ++number);
		err = take_line(where, line, &seen, options);
	}
	if (err == 0 && ferror(file)) {
		app_message("--config %s: %s", path, strerror(errno));
		err = -EINVAL;
	}
	while (seen.n > 0)
		free(seen.keys[--seen.n]);
	free(line);
	fclose(file);
	return err;
}
