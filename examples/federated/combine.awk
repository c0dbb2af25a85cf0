# The research host: aggregates of all hospitals in, the joint statistic out: means, and by how many days the drug shortens the stay.
BEGIN { FS = OFS = "," }
FNR == 1 { if ($0 != "treatment,age,n,sum,squares") { print FILENAME ": not aggregates" > "/dev/stderr"; exit 1 } files++; next }
NF != 5 || $3 < 10 { print FILENAME ": a row that no hospital sends" > "/dev/stderr"; exit 1 }
{ group = $1 OFS $2; n[group] += $3; sum[group] += $4; squares[group] += $5; used = 1 }
function mean(group) { return sum[group] / n[group] }
function variance(group) { return (squares[group] - sum[group] * sum[group] / n[group]) / (n[group] - 1) }
END {
	if (files != 2 || !used) exit 1
	print "age,patients,placebo_days,drug_days,shorter_by,95%_low,95%_high"
	split("older younger", ages, " ")
	for (i = 1; i <= 2; i++) {
		p = "placebo" OFS ages[i]; d = "drug" OFS ages[i]
		if (!n[p] || !n[d]) continue
		by = mean(p) - mean(d)
		error = 1.96 * sqrt(variance(p) / n[p] + variance(d) / n[d])
		printf "%s,%d,%.3f,%.3f,%.3f,%.3f,%.3f\n", ages[i], n[p] + n[d], mean(p), mean(d), by, by - error, by + error
	}
}
