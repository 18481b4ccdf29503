// What the server tells the page, as plain JSON: everything when a page connects, and from then on what
// is new. Numbers that are not finite are null.
import type { ComputeActivity } from '../training/compute.ts';

/** Running, or over; `interrupted` is a run that has ended without a result. */
export type RunState = 'preparing' | 'running' | 'finished' | 'interrupted';

/** A point of a curve: step and value. */
export type DashboardPoint = readonly [step: number, value: number | null];

/** A line of `events.jsonl`, with its texts cut. */
export interface DashboardEvent {
  readonly time: string;
  readonly type: string;
  readonly [field: string]: unknown;
}

/** The place in a run that its latest record names. */
export interface RunPosition {
  readonly step: number;
  readonly epoch: number;
  /** Seconds since the run started. */
  readonly runtime: number;
  /** Seconds since 1970 of the latest record. */
  readonly timestamp: number;
}

/** The part of the state that is sent whole whenever it changes: it is small. */
export interface RunStatus {
  readonly state: RunState;
  readonly position: RunPosition | undefined;
  /** Epochs of the whole run. */
  readonly epochs: number | undefined;
  /** Steps of an epoch; unknown until the first one is over. */
  readonly stepsPerEpoch: number | undefined;
  /** Hash of the weights after the latest epoch. */
  readonly weightsSha256: string | undefined;
  /** Names of drawn plots. */
  readonly plots: readonly string[];
  /** The content of `summary.json`. */
  readonly summary: unknown;
}

/** Curves by the names that `metrics.jsonl` gives them, and `rate` for samples a second. */
export type DashboardCurves = Readonly<Record<string, readonly DashboardPoint[]>>;

/** Everything, for a page that has just connected. */
export interface DashboardSnapshot {
  readonly name: string;
  readonly directory: string;
  /** The text of `config.yaml`. */
  readonly config: string;
  readonly status: RunStatus;
  readonly curves: DashboardCurves;
  /** The newest events; those of steps are left out. */
  readonly events: readonly DashboardEvent[];
  readonly activity: ComputeActivity | undefined;
}

/** News: points and events to append. */
export interface DashboardUpdate {
  readonly status: RunStatus;
  readonly curves: DashboardCurves;
  readonly events: readonly DashboardEvent[];
}
