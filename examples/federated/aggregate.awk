# One hospital: patients in, aggregates out. Input: name,birth_year,treatment,days; a row that is not that is counted, not kept.
# A group of fewer than ten patients leaves nothing: its numbers could be those of persons.
BEGIN { FS = OFS = "," }
NR == 1 { if ($0 != "name,birth_year,treatment,days") { print "not a file of patients" > "/dev/stderr"; exit 1 } next }
NF != 4 || $2 !~ /^[0-9]+$/ || $3 !~ /^(placebo|drug)$/ || $4 !~ /^[0-9]+$/ { rejected++; next }
{
	group = $3 OFS ($2 < 1960 ? "older" : "younger")
	n[group]++; sum[group] += $4; squares[group] += $4 * $4
}
END {
	if (NR == 0) { print "no patients" > "/dev/stderr"; exit 1 }
	print "treatment,age,n,sum,squares"
	split("placebo,older placebo,younger drug,older drug,younger", order, " ")
	for (i = 1; i <= 4; i++)
		if (n[order[i]] >= 10)
			printf "%s,%d,%d,%d\n", order[i], n[order[i]], sum[order[i]], squares[order[i]]
	if (rejected)
		print rejected " rows were rejected" > "/dev/stderr"
}
