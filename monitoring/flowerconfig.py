"""Flower's configuration, run by Flower itself: `celery … flower --conf=…/flowerconfig.py`.

Each lower-case name is one of Flower's options (2.2). It does not start without a password.
"""

from functools import partial

from flower import command, events  # type: ignore[import-untyped]  # no annotations

from monitoring.flower.flower_settings import ADDRESS, PORT, FlowerSettings
from monitoring.flower.guests import FlowerWithGuests
from monitoring.flower.masking import SilentState
from visionq.settings import ConfigurationError

_settings = FlowerSettings()
if _settings.password is None:
    raise ConfigurationError("VISIONQ_FLOWER_PASSWORD is not set: Flower never runs open")

# Flower's own hook, `format_task`, leaves the API and the search as they are; for more than one
# kind of user it has none.
events.EventsState = SilentState
command.Flower = partial(FlowerWithGuests, guest=_settings.guest_login)

basic_auth = [_settings.login]
address = ADDRESS
port = PORT
url_prefix = _settings.url_prefix

# With `--persistent=True --db=FILE` what was seen outlives a restart; it takes about 50 MB at most.
state_save_interval = 30_000
max_tasks = 10_000
max_workers = 200
purge_offline_workers = 60

natural_time = True
tasks_columns = "name,uuid,state,exception,retries,received,runtime,args,result,worker"

# One line for each request and each look at a silent worker would be noise.
logging = "error"
