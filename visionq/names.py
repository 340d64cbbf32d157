"""Every name that two processes must agree on: Redis keys, queues, tasks, metrics.

Nothing else in the project spells one of them out. In Lua scripts `K.job` stands for `JOB`.
"""

from __future__ import annotations

from typing import Final

# --- Celery -----------------------------------------------------------------------------------

#: The task that callers send. It enters the document in the ledger and is acknowledged afterwards.
TASK_ANALYZE: Final = "visionq.analyze"
#: The task behind a hint: "look at the job whose id is this task's id". Shown as `TASK_ANALYZE`.
TASK_RUN: Final = "visionq.run"
#: The task that tells a tenant's webhook of the event whose id is this task's id.
TASK_DELIVER: Final = "visionq.deliver"
#: Tasks whose messages may get lost: the ledger knows what they are about, and repeats them.
HINT_TASKS: Final = frozenset({TASK_RUN, TASK_DELIVER})

#: What the names of all our queues begin with.
QUEUE_PREFIX: Final = "visionq."
QUEUE_INTERACTIVE: Final = "visionq.interactive"
QUEUE_BULK: Final = "visionq.bulk"
#: Messages in it carry whole documents from plain Celery callers.
QUEUE_INTAKE: Final = "visionq.intake"
#: The queue of a Celery program that configures none. It may be another program's.
QUEUE_CELERY_DEFAULT: Final = "celery"

#: The queues of jobs that wait for a batch of the provider's, by API, which a batch has one of, and
#: by priority. Nobody is sent a hint at them; the packer takes them.
QUEUE_BATCH: Final = "visionq.batch."


def batch_queues(api: str) -> tuple[str, str]:
    """Return the queues of an API's batches: of interactive jobs, and of bulk."""
    return f"{QUEUE_BATCH}{api}.interactive", f"{QUEUE_BATCH}{api}.bulk"


#: Queues whose messages are hints, in the order in which they are served.
HINT_QUEUES: Final = (QUEUE_INTERACTIVE, QUEUE_BULK)

#: The event of a delivery that is no webhook's: what a job's Celery canvas sends when it ends.
CANVAS_EVENT: Final = "celery.canvas"
#: The queue of hints at webhook deliveries.
QUEUE_WEBHOOKS: Final = "visionq.webhooks"

#: SET of the nodes that Celery's remote control reaches in this Redis, each as
#: `…NODE@HOST.celery.pidbox`. Celery's own name.
CELERY_NODES: Final = "_kombu.binding.celery.pidbox"

#: Where Celery's Redis backend keeps, and announces, the result of a task. Celery's own name.
CELERY_RESULT: Final = "celery-task-meta-"

# --- Redis: whole keys ------------------------------------------------------------------------

PREFIX: Final = "visionq:"

#: ZSET job id → when to look at it again (ms): a lease, a retry, a hint that nobody claimed.
DUE: Final = PREFIX + "due"
#: ZSET job id → when it was parked (ms).
PARKED: Final = PREFIX + "parked"
#: ZSET job id → when it ended (ms); trimmed by age and by length.
FINISHED: Final = PREFIX + "finished"
#: HASH state → jobs in it now (`completed`, `failed`, `cancelled`: ever).
COUNTS: Final = PREFIX + "counts"
#: HASH lane → jobs queued in it.
LANE_SIZES: Final = PREFIX + "lane-sizes"
#: HASH queue → hints that are out and not yet claimed.
HINTED: Final = PREFIX + "hinted"
#: HASH pool (queues, comma separated, `@`, id of the provider's key) → slots of its live workers.
POOL_SLOTS: Final = PREFIX + "pool-slots"
#: SET of the models that the provider lists; expires.
PROVIDER_MODELS: Final = PREFIX + "provider-models"
#: HASH model → the day on which it ends (`YYYY-MM-DD`), as that list says; expires with it.
PROVIDER_MODEL_ENDS: Final = PREFIX + "provider-model-ends"
#: SET of the ids of the provider's keys that live workers hold.
PROVIDER_KEYS: Final = PREFIX + "provider-keys"
#: HASH pool → jobs that its workers have claimed.
POOL_BUSY: Final = PREFIX + "pool-busy"
#: HASH tenant → its jobs that workers were given and have not sent.
TENANT_UNSENT: Final = PREFIX + "tenant-at-hand"
#: ZSET worker id → when its registration lapses (ms).
WORKERS: Final = PREFIX + "workers"
#: HASH scope (`model:…`, `tenant:…`, `pace:MODEL`) → why its lanes are not served.
HOLDS: Final = PREFIX + "holds"
#: ZSET scope → until when it is held (ms); a scope without an end is held until an operator acts.
HOLD_ENDS: Final = PREFIX + "hold-ends"
#: HASH `operator:MODEL` or `environment:MODEL` (`*` for all) → its limits, as JSON.
LIMITS: Final = PREFIX + "limits"
#: HASH `tenant:MODEL` (`*` for all tenants) → which model is asked in its place, as JSON.
MODEL_MIGRATIONS: Final = PREFIX + "model-migrations"
#: LIST of what was migrated and undone, as JSON, the latest first; bounded.
MODEL_CHANGES: Final = PREFIX + "model-changes"
#: ZSET content key that has followers to wake → since when (ms).
WAKING: Final = PREFIX + "waking"
#: ZSET job id → the version of its document, for jobs newer than the worker that met them.
TOO_NEW: Final = PREFIX + "too-new"
#: HASH of the dispatcher's own state: `seen`, `grace_until`, `turn`, `tenant`,
#: `shared_until`, `low`.
DISPATCHER: Final = PREFIX + "dispatcher"
#: LIST of at most one element; pushing it makes one dispatcher look at once.
WAKE: Final = PREFIX + "wake"
#: HASH name → nano-rubles or calls: `reserved`, `settled`, `unknown`, `saved`, `unknown_calls`.
MONEY: Final = PREFIX + "money"
#: SET of the scopes (`tenant:…`, `batch:…`) that have a budget.
BUDGETS: Final = PREFIX + "budgets"
#: HASH scope → jobs that wait, or are parked, until its budget has room for them.
BUDGET_WAITER_COUNTS: Final = PREFIX + "budget-waiter-counts"
#: ZSET scope whose waiters have to be looked at → since when (ms).
BUDGET_LOOKS: Final = PREFIX + "budget-looks"
#: ZSET `job token nano-rubles scope …` of a call of unknown billing → since when (ms); bounded.
UNKNOWN_CALLS: Final = PREFIX + "unknown-calls"
#: HASH of the moment from which balance and books are compared: `balance`, `settled`, `at`, `key`.
BALANCE_REFERENCE: Final = PREFIX + "balance-reference"
#: HASH sha256 → unfinished jobs that need the blob.
BLOB_REFERENCES: Final = PREFIX + "blob-references"
#: ZSET `sha256 bytes` → when a blob that no unfinished job needs goes (ms); 0 bytes: not in Redis.
BLOB_GARBAGE: Final = PREFIX + "blob-garbage"
#: ZSET sha256 → until when a process is deleting it from a store outside Redis (ms).
BLOB_DELETIONS: Final = PREFIX + "blob-deletions"
#: STRING bytes of the blobs in Redis, by reservation: of those above and of those that jobs need.
BLOB_BYTES: Final = PREFIX + "blob-bytes"
#: HASH tenant → bytes of its pictures in Redis.
TENANT_BLOB_BYTES: Final = PREFIX + "tenant-blob-bytes"
#: ZSET `tenant sha256 bytes` → until when a picture that none of its jobs needs is counted (ms).
TENANT_BLOB_GARBAGE: Final = PREFIX + "tenant-blob-garbage"
#: HASH tenant → its jobs that are parked.
TENANT_PARKED: Final = PREFIX + "tenant-parked"
#: HASH tenant → its lanes in which jobs are queued.
TENANT_LANES: Final = PREFIX + "tenant-lanes"
#: HASH tenant → percent of its paid answers that may fail before it is stopped.
TENANT_WASTE_LIMITS: Final = PREFIX + "tenant-waste-limits"
#: STREAM of what happened to jobs; bounded.
EVENTS: Final = PREFIX + "events"
#: STREAM of what an operator should know; bounded.
NOTICES: Final = PREFIX + "notices"
#: ZSET `model:detail` that answers were counted of → when the last came (ms).
USAGE_KINDS: Final = PREFIX + "usage-kinds"
#: ZSET id of a question whose answers were counted → when the last came (ms); bounded.
QUESTIONS: Final = PREFIX + "questions"
#: ZSET `letter bytes` → when a dead letter was kept (ms); bounded.
DEAD_LETTERS: Final = PREFIX + "dead-letters"
#: ZSET job id → when it failed (ms), until it is replayed; trimmed by age and by length.
FAILED: Final = PREFIX + "failed"
#: HASH sha256 of an API key → who it is for, as JSON.
GATEWAY_KEYS: Final = PREFIX + "gateway-keys"
#: ZSET id of a batch that is not done → when it was made (s).
OPEN_BATCHES: Final = PREFIX + "open-batches"
#: HASH `name|label|…` → what the exporter shows as a counter.
METRICS: Final = PREFIX + "metrics"
#: HASH id of a provider's key → `nano-rubles ms`: its balance, and when that was read.
BALANCES: Final = PREFIX + "balances"
#: ZSET id of a batch at the provider, or on its way there → when it was begun (ms).
PROVIDER_BATCHES: Final = PREFIX + "provider-batches"
#: ZSET id of such a batch that is done with → when (ms); trimmed by age and by length.
PROVIDER_BATCHES_DONE: Final = PREFIX + "provider-batches-done"
#: SET of the models that have an entry in `BATCH_JOBS`.
BATCH_MODELS: Final = PREFIX + "batch-models"
#: SET of the models that have an entry in `FALLBACK_JOBS`.
FALLBACK_MODELS: Final = PREFIX + "fallback-models"
#: HASH `key's id:model:api`, or `…:flex` → what is known of batches there, or of the tier, as JSON.
BATCH_SUPPORT: Final = PREFIX + "batch-support"
#: ZSET `key's id file` of an ended batch that the provider did not delete → since when (ms).
PROVIDER_FILES_LEFT: Final = PREFIX + "provider-files-left"
#: ZSET token of a call whose job is gone and whose money is done with → since when (ms).
CLOSED_CALLS: Final = PREFIX + "closed-calls"
#: HASH tenant → address, secrets and events of its webhook, as JSON.
WEBHOOKS: Final = PREFIX + "webhooks"
#: HASH tenant → id of its webhook and the events that it wants, while it is enabled.
WEBHOOK_EVENTS: Final = PREFIX + "webhook-events"
#: ZSET tenant → when its next event is due (ms).
DELIVERY_TENANTS: Final = PREFIX + "delivery-tenants"
#: ZSET id of an event that was handed to the workers → until when that is waited for (ms).
DELIVERIES_OUT: Final = PREFIX + "deliveries-out"
#: HASH tenant → how many of those are its own.
DELIVERIES_OUT_OF: Final = PREFIX + "deliveries-out-of"
#: ZSET id of an event that was delivered, or given up → when (ms); trimmed by age and by length.
DELIVERIES: Final = PREFIX + "deliveries"
#: STRING by which this ledger's batches are known at the provider.
LEDGER_ID: Final = PREFIX + "ledger-id"
#: STRING the version of the ledger's layout.
LEDGER_VERSION: Final = PREFIX + "ledger-version"

# --- Redis: key prefixes ----------------------------------------------------------------------

#: HASH per job.
JOB: Final = PREFIX + "job:"
#: STRING per id that was revoked: a job that is entered under it later is cancelled at once.
REVOKED: Final = PREFIX + "revoked:"
#: LIST of job ids per lane `queue:tenant:model`.
LANE: Final = PREFIX + "lane:"
#: LIST of tenants, in turn, per queue.
TENANT_RING: Final = PREFIX + "tenants:"
#: LIST of lanes, in turn, per `queue:tenant`.
LANE_RING: Final = PREFIX + "lanes:"
#: HASH of what was settled and saved on one day (`YYYY-MM-DD` where the operator lives).
MONEY_OF_DAY: Final = PREFIX + "money-of-day:"
#: HASH per scope, or scope and day or month: what calls reserved and cost, and the budgets.
BOOK: Final = PREFIX + "book:"
#: ZSET job id → nano-rubles that it needs, per `waiting:SCOPE` or `parked:SCOPE`.
BUDGET_WAITERS: Final = PREFIX + "budget-waiters:"
#: HASH per lane or `batch:…`: `least` nano-rubles that its jobs reserve, and of how many `samples`.
RESERVES: Final = PREFIX + "reserves:"
#: What a notice begins with that is about `model:detail`. No key: a word in `NOTICES`.
USAGE_SUBJECT: Final = "usage:"
#: HASH per worker process.
WORKER: Final = PREFIX + "worker:"
#: STRING job id per `tenant:sha256(idempotency key)`.
IDEMPOTENCY: Final = PREFIX + "idempotency:"
#: HASH of the gate per id of a provider's key.
GATE: Final = PREFIX + "gate:"
#: STRING what the provider said of a model unknown to it, per `key's id:model`; for a minute.
MISSING_MODEL: Final = PREFIX + "missing-model:"
#: ZSET lane that left its ring → when (ms), per scope that holds it.
HELD_LANES: Final = PREFIX + "held-lanes:"
#: STRING id of the job that calls for a content key.
LEADER: Final = PREFIX + "lead:"
#: HASH per model: its limits, what is taken of them, its calls, its jobs claimed and not sent.
RATE_LIMIT: Final = PREFIX + "pace:"
#: STRING how many calls of unknown billing were made for a content key.
UNCLEAR: Final = PREFIX + "unclear:"
#: LIST of job ids that wait for the lead of a content key, or for what its calls turn out to cost.
FOLLOWERS: Final = PREFIX + "followers:"
#: STRINGs by which the fleet shares the duties of its watch.
MAINTENANCE: Final = PREFIX + "watch:"
#: STRING that the worker holds which packs batches, per id of a provider's key.
PACKER_LEASE: Final = MAINTENANCE + "packer:"
#: STRING of records, a perceptual hash and a content key each, per `question:period`; bounded.
NEAR_HASHES: Final = PREFIX + "near:"
#: LIST of job ids that one call may answer together, per key of what they have in common; expires.
TOGETHER: Final = PREFIX + "together:"
#: STRING id of the job that takes up the others of such a list; expires.
TOGETHER_LEADER: Final = PREFIX + "together-lead:"
#: STRING result document per content key.
ANSWER: Final = PREFIX + "answer:"
#: HASH of sums over forecast and counted tokens per `model:detail`.
USAGE: Final = PREFIX + "usage:"
#: STRING how much dearer a model's calls were than the price table, by the seller's own word.
COST_FACTOR: Final = PREFIX + "cost-factor:"
#: HASH of sums over the answers' tokens per question.
QUESTION: Final = PREFIX + "question:"
#: HASH sha256 → unfinished jobs that need the blob, per tenant.
TENANT_BLOBS: Final = PREFIX + "tenant-blobs:"
#: ZSET job id → when it was submitted (ms), per tenant, until it ends.
TENANT_JOBS: Final = PREFIX + "tenant-jobs:"
#: ZSET job id → when it ended (ms), per tenant; trimmed by age and by length.
TENANT_FINISHED: Final = PREFIX + "tenant-finished:"
#: LIST of a tenant's last paid answers, the newest first: '' or `job nano-rubles code`; expires.
TENANT_WASTE: Final = PREFIX + "tenant-waste:"
#: STRING bytes per sha256.
BLOB: Final = PREFIX + "blob:"
#: HASH per dead letter.
DEAD_LETTER: Final = PREFIX + "dead-letter:"
#: HASH of a batch's counts.
BATCH: Final = PREFIX + "batch:"
#: HASH of a batch that was made of a file: what it is of, and how far it has come.
FILE_BATCH: Final = PREFIX + "file-batch:"
#: ZSET id of such a batch → when it was made (s), per tenant.
TENANT_BATCHES: Final = PREFIX + "tenant-batches:"
#: HASH per batch at the provider: its state, what is in it, its ids there.
PROVIDER_BATCH: Final = PREFIX + "provider-batch:"
#: HASH token of a line → its job and what settles it, as JSON; per such batch.
PROVIDER_BATCH_LINES: Final = PREFIX + "provider-batch-lines:"
#: ZSET job id → by when its answer is needed (ms), of jobs in the batch lane; per model.
BATCH_JOBS: Final = PREFIX + "batch-jobs:"
#: ZSET job id → since when it is queued (ms), of jobs with a fallback; per model.
FALLBACK_JOBS: Final = PREFIX + "fallback-jobs:"
#: STRING the gateway that works on such a batch.
BATCH_KEEPER: Final = PREFIX + "batch-keeper:"
#: HASH per event for a webhook: what it is about, and its state.
DELIVERY: Final = PREFIX + "delivery:"
#: STRING per message of a canvas that was sent.
SENT: Final = PREFIX + "sent:"
#: ZSET id of an event → when it is due (ms), per tenant.
DELIVERIES_DUE: Final = PREFIX + "deliveries-due:"
#: ZSET tenant, or model, that is counted under its name → when it last was (ms), per kind of label.
METRIC_LABELS: Final = PREFIX + "metric-labels:"
#: SET of the counters that bear a label, per `tenant|NAME` or `model|NAME`.
METRIC_FIELDS: Final = PREFIX + "metric-fields:"
#: STRING requests per `tenant:minute`.
REQUEST_RATE: Final = PREFIX + "request-rate:"

# --- Redis: channels --------------------------------------------------------------------------

#: Where a client tells its own subscriber to look for more jobs; ends in a random name.
SDK_WAKE: Final = PREFIX + "sdk-wake:"


def lane_name(queue: str, tenant: str, model: str) -> str:
    """Return the name of the backlog of one (queue, tenant, model)."""
    return f"{queue}:{tenant}:{model}"
