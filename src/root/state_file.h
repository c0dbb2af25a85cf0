/* The secure processor's state file: two slots (store/slots.h) of this size. */
#ifndef TROTH_ROOT_STATE_FILE_H
#define TROTH_ROOT_STATE_FILE_H

#include "root/ap.h"

enum { AP_STATE_SLOT = 64 * 1024 };

#endif
