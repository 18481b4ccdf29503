# The golden reading of an event file by TensorBoard itself (pip install tensorboard), for
# test/unit/coordinator/output/trackers.test.ts:
#   LOCKSTEP_KEEP=/tmp/events.out.tfevents.0 npx vitest run test/unit/coordinator/output/trackers.test.ts
#   python scripts/golden/event_files.py /tmp/events.out.tfevents.0 > test/golden/tensorboard.json
import hashlib
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

path = sys.argv[1]
events = EventAccumulator(path, size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
print(
    json.dumps(
        {
            "sha256": hashlib.sha256(open(path, "rb").read()).hexdigest(),
            "scalars": {
                tag: [[e.step, e.value, e.wall_time] for e in events.Scalars(tag)]
                for tag in tags["scalars"]
            },
            "texts": {
                tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
                for tag in tags["tensors"]
            },
        },
        indent=2,
    )
)
