# One pass over employee,department,salary,hours: prints what is well-formed, counts what is not and why.
BEGIN {
	FS = ","
	complete = 0
}

/^#end / {
	split($0, end, " ")
	complete = (NR == end[2] + 1)
	exit
}

NF != 4                                { bad["fields"]++; next }
$1 !~ /^[0-9]+$/                       { bad["employee"]++; next }
$2 !~ /^[A-Za-z]+$/                    { bad["department"]++; next }
$3 !~ /^[0-9]+$/                       { bad["salary"]++; next }
$4 !~ /^[0-9]+$/ || $4 + 0 > 744       { bad["hours"]++; next }
{ print; good++ }

END {
	# A wrong key gives noise, a cut file no end: neither may look like a small payroll.
	if (!complete) {
		print "the payroll does not end as it should: wrong key, or a file that was cut" > "/dev/stderr"
		exit 1
	}
	rejects = "/tmp/rejects.csv"
	print "reason,rows" > rejects
	split("fields employee department salary hours", reasons, " ")
	for (i = 1; i <= 5; i++) {
		printf "%s,%d\n", reasons[i], bad[reasons[i]] > rejects
		all += bad[reasons[i]]
	}
	printf "rejected,%d\naccepted,%d\n", all, good > rejects
}
