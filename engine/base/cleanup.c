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
close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
	*dir = NULL;
}

void
free_text(char **text)
{
	free(*text);
	*text = NULL;
}
