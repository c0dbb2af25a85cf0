/* A library that is no PKCS#11 module. */
__attribute__((visibility("default"))) int nothing_of_use(void);
int nothing_of_use(void)
{
	return 1;
}
