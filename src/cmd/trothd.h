/* The roles of trothd; each returns the program's exit code. argv begins behind the role. */
#ifndef TROTH_CMD_TROTHD_H
#define TROTH_CMD_TROTHD_H

#include "base/result.h"

int trothd_host(int argc, char **argv);
int trothd_ledger(int argc, char **argv);

#endif
