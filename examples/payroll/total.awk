# IRE-C: passes the summary on with a line of totals, and refuses one that it does not understand.
BEGIN { FS = OFS = "," }

NR == 1 {
	if ($0 != "department,employees,salary_cents,hours") {
		print "this is not the summary that was expected" > "/dev/stderr"
		failed = 1
		exit 1
	}
	print
	next
}

{
	if (NF != 4) {
		print "line " NR " of the summary is malformed" > "/dev/stderr"
		failed = 1
		exit 1
	}
	print
	employees += $2
	salary += $3
	hours += $4
}

END {
	if (!failed)
		printf "TOTAL,%.0f,%.0f,%.0f\n", employees, salary, hours
}
