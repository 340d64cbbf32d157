-- include: core/base, webhooks/deliveries

-- Has the tenant's webhook told of something that ended beside the jobs.
-- ARGV: now, tenant, event, id of what ended, seed: the same one makes the same event

tell_webhook(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
wake()
