#include "net_test.h"

#include <signal.h>

int main(void)
{
	signal(SIGPIPE, SIG_DFL); /* a write to somebody who has gone must not raise it */
	return test_tcp() + test_tls() + test_https();
}
