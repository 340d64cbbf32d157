-- include: core/base, webhooks/deliveries

-- Queues an event for the tenant's webhook: something other than a job has ended.
-- ARGV: now, tenant, event, id of what ended, seed: the same one makes the same event

tell_webhook(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
wake()
