-- Notes that ended jobs have been submitted anew; the same note again changes nothing.
-- ARGV: now, then for each: id of the old job, id of the new one

for i = 2, #ARGV, 2 do
  replaced_by(ARGV[i], ARGV[i + 1])
end
