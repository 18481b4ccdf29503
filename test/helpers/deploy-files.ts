// The files of deploy/, read as the tools that use them do, and the commands in them.
import fs from 'node:fs';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { ROOT } from './cli.ts';

/** A rule of what becomes of a Job when one of its pods fails. */
interface FailureRule {
  readonly action: string;
  readonly onExitCodes?: { readonly containerName: string; readonly values: readonly number[] };
}

/** A container, as far as the tests look into it. */
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly securityContext: unknown;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly [probe: `${string}Probe`]: { readonly httpGet: { readonly path: string; readonly port: string } };
}

/** What a pod is made from. */
export interface PodSpec {
  readonly securityContext: unknown;
  readonly containers: readonly [Container];
  readonly volumes: readonly {
    readonly name: string;
    readonly configMap?: { readonly name: string };
    readonly persistentVolumeClaim?: { readonly claimName: string };
  }[];
}

/** A Job, or what a JobSet makes one from. */
export interface JobTemplate {
  readonly metadata: { readonly name?: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: {
    readonly podFailurePolicy: { readonly rules: readonly FailureRule[] };
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: PodSpec;
    };
  };
}

/** An object of Kubernetes. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec?: unknown;
}

/** The text of a file of `deploy/`. */
export function readDeployFile(name: string): string {
  return fs.readFileSync(path.join(ROOT, 'deploy', name), 'utf8');
}

/** The objects of a text, in the YAML of Kubernetes: that of version 1.1, where `0400` is octal. @throws at a flaw */
export function parseManifests(text: string): Manifest[] {
  const documents = parseAllDocuments(text, { version: '1.1', strict: true, uniqueKeys: true });
  if ('empty' in documents) throw new Error('no document');
  return documents.map((document) => {
    const flaws = [...document.errors, ...document.warnings];
    if (flaws.length > 0) throw flaws[0] as Error;
    return document.toJS() as Manifest;
  });
}

/** A way to place the processes. */
export interface Placement {
  readonly name: string;
  /** The command of each, without the name of the program. */
  readonly coordinator: readonly string[];
  readonly worker: readonly string[];
  /** The paths that tell whether the coordinator is alive and ready. */
  readonly probes: readonly string[];
}

/** The coordinator and the workers as Kubernetes starts them. */
export function placementOf(name: string, jobs: readonly JobTemplate[]): Placement {
  const [coordinator, worker] = jobs.map(({ spec }) => spec.template.spec) as [PodSpec, PodSpec];
  const [container] = coordinator.containers;
  const probes = (['startupProbe', 'readinessProbe', 'livenessProbe'] as const).map(
    (probe) => container[probe]?.httpGet.path ?? '',
  );
  return {
    name,
    coordinator: container.args ?? [],
    worker: worker.containers[0].args ?? [],
    probes,
  };
}

/** The values of a key of a systemd unit. */
export function unitValues(unit: string, key: string): string[] {
  return unit.split('\n').flatMap((line) => (line.startsWith(`${key}=`) ? [line.slice(key.length + 1)] : []));
}

/** The command of a systemd unit, without the name of the program. */
export function unitCommand(unit: string): string[] {
  return (unitValues(unit, 'ExecStart')[0] ?? '').split(' ').slice(1);
}
