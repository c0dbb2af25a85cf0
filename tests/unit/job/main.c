int test_plan(void);

int main(void)
{
	return test_plan() == 0 ? 0 : 1;
}
