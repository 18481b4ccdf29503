// Numbers that a config, the messages to workers and the files of a run share: whoever writes keeps
// to what readers take. Those of the envelope alone stand in protocol/limits.ts.

/** Layers of one list; a residual block holds lists of its own. */
export const MAX_LAYERS = 1000;

/** Sizes of a sample: an image has the most. */
export const MAX_SAMPLE_DIMENSIONS = 3;

/** Rows of a batch, whose numbers fill the body of one message. */
export const MAX_BATCH_SIZE = 1_048_576;

/** Shards of a task, and so shards of a batch. */
export const MAX_SHARDS = 1024;

/** A checkpoint's header has a record of each. */
export const MAX_EPOCHS = 500_000;

/** Compute threads of a worker. */
export const MAX_THREADS = 256;

/** Workers at one time. */
export const MAX_WORKERS = 1024;

/** Workers that the coordinator, or an aggregator, takes itself before it sends others on. */
export const MAX_FAN_IN = 64;

/** Their number where nothing else is said. */
export const DEFAULT_FAN_IN = 8;

/** Parts of a cross-validation. */
export const MAX_FOLDS = 100;

/** Trials of a search; more would take longer than anybody waits. */
export const MAX_TRIALS = 10_000;

/** Seconds without a sign of life after which another process may take over a run: usually, and at most. */
export const DEFAULT_LEASE_S = 5;
export const MAX_LEASE_S = 3600;

/** UTF-16 units of the name that a user gives a worker. */
export const MAX_WORKER_NAME_LENGTH = 64;
