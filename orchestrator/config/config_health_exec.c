/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include "common/expand.h"

void config_check_health_exec(struct config_reading *reading, const char *path,
			      const struct config_check *draft)
{
	const struct health_config *health = &draft->health;

	if (!health->exec)
		return;
	if (expand_uses_fds(health->exec))
		config_mistake(reading, path,
			       "\"exec\" has no socket for {fd}: that is the server's, and the "
			       "command connects to it");
	if (health->path)
		config_mistake(reading, path, "\"%s\" and \"exec\" exclude each other",
			       draft->question);
	if (draft->notify)
		config_mistake(reading, path, "\"exec\" and \"notify\" exclude each other");
	if (health->proxy_protocol)
		config_mistake(
			reading, path,
			"\"proxy_protocol\" and \"exec\" exclude each other: the command makes "
			"its connections itself");
}
