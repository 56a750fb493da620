#include "cleanup.h"

#include <stdlib.h>
#include <unistd.h>

void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
free_text(char **text)
{
	free(*text);
	*text = NULL;
}
