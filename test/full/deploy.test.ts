// The files of deploy/, each checked by what would use it, or by a schema: and the commands in them train, are
// told to stop, and go on when they are started again. No image is built here, and no cluster is at hand.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { validate } from 'dockerfile-utils';
import { Job } from 'kubernetes-models/batch/v1';
import { ConfigMap, PersistentVolumeClaim, Pod, Service } from 'kubernetes-models/v1';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { EXIT } from '../../src/errors.ts';
import { VERSION } from '../../src/version.ts';
import { CliProcess, ROOT, runCli } from '../helpers/cli.ts';
import {
  parseManifests,
  placementOf,
  readDeployFile,
  unitCommand,
  unitValues,
  type Container,
  type JobTemplate,
  type Manifest,
  type Placement,
  type PodSpec,
} from '../helpers/deploy-files.ts';
import { readEvents, readSummary, untilEpoch } from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const read = (name: string): Manifest[] => parseManifests(readDeployFile(`kubernetes/${name}`));

const [service, coordinatorJob] = read('jobs/coordinator.yaml') as [Manifest, Manifest];
const [workerJob] = read('jobs/workers.yaml') as [Manifest];
const [jobSet] = read('jobset/jobset.yaml') as [Manifest];
const [runVolume] = read('base/run-volume.yaml') as [Manifest];
const [resultsPod] = read('results.yaml') as [Manifest];
const units = {
  coordinator: readDeployFile('systemd/lockstep-coordinator.service'),
  worker: readDeployFile('systemd/lockstep-worker@.service'),
};

/** The fields of a JobSet that we use; those of its Jobs are checked as Jobs. */
const JOB_SET = z.strictObject({
  apiVersion: z.literal('jobset.x-k8s.io/v1alpha2'),
  kind: z.literal('JobSet'),
  metadata: z.strictObject({ name: z.string(), labels: z.record(z.string(), z.string()) }),
  spec: z.strictObject({
    network: z.strictObject({ enableDNSHostnames: z.boolean(), publishNotReadyAddresses: z.boolean() }),
    successPolicy: z.strictObject({
      operator: z.enum(['All', 'Any']),
      targetReplicatedJobs: z.array(z.string()),
    }),
    failurePolicy: z.strictObject({
      maxRestarts: z.int().min(0),
      rules: z.array(
        z.strictObject({
          name: z.string(),
          action: z.enum(['FailJobSet', 'RestartJobSet', 'RestartJobSetAndIgnoreMaxRestarts']),
          targetReplicatedJobs: z.array(z.string()),
          onJobFailureReasons: z.array(
            z.enum(['BackoffLimitExceeded', 'DeadlineExceeded', 'PodFailurePolicy']),
          ),
        }),
      ),
    }),
    replicatedJobs: z.array(
      z.strictObject({
        name: z.string(),
        template: z.custom<JobTemplate>((value) => typeof value === 'object' && value !== null),
      }),
    ),
  }),
});

const { replicatedJobs } = JOB_SET.parse(jobSet).spec;
const plainJobs = [coordinatorJob, workerJob] as unknown as JobTemplate[];
const jobsOfSet = replicatedJobs.map(({ template }) => template);

/** A Job as the controller of JobSets makes it. */
function asJob({ name, template }: (typeof replicatedJobs)[number]): Manifest {
  return { apiVersion: 'batch/v1', kind: 'Job', ...template, metadata: { ...template.metadata, name } };
}

const manifests: Manifest[] = [
  service,
  coordinatorJob,
  workerJob,
  runVolume,
  resultsPod,
  ...replicatedJobs.map(asJob),
];

const MODELS: Readonly<Record<string, new (data: never) => { validate(): void }>> = {
  ConfigMap,
  Job,
  PersistentVolumeClaim,
  Pod,
  Service,
};

/** Asserts that types, formats and choices are those of Kubernetes. */
function validateManifest(manifest: Manifest): void {
  const Model = MODELS[manifest.kind];
  if (!Model) throw new Error(`no schema for ${manifest.kind}`);
  new Model(manifest as never).validate();
}

/** What TypeScript says of objects of Kubernetes: above all, which fields there are not. */
function typeErrorsOf(objects: readonly Manifest[]): string[] {
  const file = path.join(ROOT, 'test/manifests.ts');
  const text = [
    "import type { IJob } from 'kubernetes-models/batch/v1';",
    "import type { IPersistentVolumeClaim, IPod, IService } from 'kubernetes-models/v1';",
    ...objects.map(
      (object, index) => `export const object${index}: I${object.kind} = ${JSON.stringify(object)};`,
    ),
  ].join('\n');
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    strict: true,
    skipLibCheck: true,
    noEmit: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, ...rest) =>
    name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2023) : getSourceFile(name, ...rest);
  return ts
    .getPreEmitDiagnostics(ts.createProgram([file], options, host))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

const podSpecs: PodSpec[] = [
  ...[...plainJobs, ...jobsOfSet].map(({ spec }) => spec.template.spec),
  resultsPod.spec as PodSpec,
];

/** The exit codes of each action. */
function exitCodes({ spec }: JobTemplate): Record<string, readonly number[]> {
  const [container] = spec.template.spec.containers;
  const codes = spec.podFailurePolicy.rules.flatMap(({ action, onExitCodes }) => {
    if (!onExitCodes) return [];
    expect(onExitCodes.containerName).toBe(container.name);
    return [[action, onExitCodes.values] as const];
  });
  return Object.fromEntries(codes);
}

describe('deploy/kubernetes', () => {
  it.each(manifests.map((manifest) => [manifest.kind, manifest.metadata.name, manifest] as const))(
    'the %s %s has the types, formats and choices of the schema of Kubernetes',
    (_kind, _name, manifest) => {
      expect(() => validateManifest(manifest)).not.toThrow();
    },
  );

  it('the manifests have no field that Kubernetes does not know', () => {
    expect(typeErrorsOf(manifests)).toEqual([]);
    const spec = { ...(workerJob.spec as object), paralelism: 2 };
    expect(typeErrorsOf([{ ...workerJob, spec }])).toEqual([
      expect.stringMatching(/'"paralelism"' does not exist/),
    ]);
  });

  it('the JobSet has the same pods as the two Jobs, except for the name of the coordinator', () => {
    const text = JSON.stringify(plainJobs.map(({ spec }) => spec));
    const name = `${jobSet.metadata.name}-coordinator-0-0.${jobSet.metadata.name}`;
    expect(text).toContain(`"ws://${service.metadata.name}:7700"`);
    expect(jobsOfSet.map(({ spec }) => spec)).toEqual(JSON.parse(text.replace(service.metadata.name, name)));
  });

  it('all names in a manifest lead somewhere', () => {
    const [{ configMapGenerator }] = read('base/kustomization.yaml') as unknown as [
      { configMapGenerator: { name: string }[] },
    ];
    for (const { containers, volumes } of podSpecs) {
      const names = volumes.map(({ name }) => name);
      for (const { args = [], command = [], ports = [], volumeMounts, ...rest } of containers) {
        expect(names).toEqual(expect.arrayContaining(volumeMounts.map(({ name }) => name)));
        const paths = [...args, ...command].flatMap((arg) => /(?<=^|=)\/.*/.exec(arg) ?? []);
        const mounts = volumeMounts.map(({ mountPath }) => `${mountPath}/`);
        expect(paths.filter((file) => !mounts.some((mount) => file.startsWith(mount)))).toEqual([]);
        const portsOfProbes = Object.entries(rest).flatMap(([key, value]) =>
          key.endsWith('Probe') ? [(value as Container['livenessProbe'])?.httpGet.port] : [],
        );
        expect(ports.map((port) => port.name)).toEqual(expect.arrayContaining(portsOfProbes));
      }
      for (const { configMap, persistentVolumeClaim } of volumes) {
        if (configMap) expect(configMap.name).toBe(configMapGenerator[0]?.name);
        if (persistentVolumeClaim) expect(persistentVolumeClaim.claimName).toBe(runVolume.metadata.name);
      }
    }
    const { selector, ports } = service.spec as { selector: object; ports: { targetPort: string }[] };
    const { template } = (plainJobs[0] as JobTemplate).spec;
    expect(template.metadata.labels).toMatchObject(selector);
    expect(template.spec.containers[0].ports).toEqual([{ name: ports[0]?.targetPort, containerPort: 7700 }]);
  });

  it('no container has a right that it does not need: the restricted standard, and a read-only root', () => {
    for (const spec of podSpecs) {
      expect(spec.securityContext).toMatchObject({
        runAsNonRoot: true,
        runAsUser: 1000,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      for (const { securityContext } of spec.containers) {
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
      }
    }
  });

  it('a process that was told to stop comes back, and one that cannot succeed does not', () => {
    for (const [coordinator, worker] of [plainJobs, jobsOfSet] as [JobTemplate, JobTemplate][]) {
      expect(exitCodes(coordinator)).toEqual({
        Ignore: [EXIT.terminated],
        FailJob: [EXIT.usage, EXIT.data, EXIT.checkpoint, EXIT.diverged],
      });
      expect(exitCodes(worker)).toEqual({
        Ignore: [EXIT.terminated],
        FailIndex: [EXIT.usage, EXIT.network],
      });
    }
  });

  it('the config is that of examples/house, with the data where the image has them', () => {
    const config = parse(readDeployFile('kubernetes/base/config.yaml')) as { data: object };
    const example = parse(fs.readFileSync(path.join(ROOT, 'examples/house/house.yaml'), 'utf8')) as {
      data: object;
    };
    const file = '/opt/lockstep/examples/house/house.csv.gz';
    expect(config).toEqual({ ...example, data: { ...example.data, file } });
    expect(readDeployFile('docker/Dockerfile')).toContain(
      'COPY --from=package /opt/lockstep /opt/lockstep\n',
    );
  });

  const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;
  it.skipIf(!hasKubectl).each(['jobs', 'jobset'])(
    `kubectl puts the files of deploy/kubernetes/%s together, with the image of this version${hasKubectl ? '' : ': needs kubectl'}`,
    (folder) => {
      const text = execFileSync('kubectl', ['kustomize', path.join(ROOT, 'deploy/kubernetes', folder)], {
        encoding: 'utf8',
      });
      const objects = parseManifests(text);
      const kinds = { jobs: ['Job', 'Job', 'Service'], jobset: ['JobSet'] }[folder] ?? [];
      expect(objects.map(({ kind }) => kind).sort()).toEqual(
        ['ConfigMap', 'PersistentVolumeClaim', ...kinds].sort(),
      );
      for (const object of objects) if (object.kind !== 'JobSet') validateManifest(object);
      const images = [...text.matchAll(/image: (.*)/g)].map(([, image]) => image);
      expect(images).toEqual(Array(2).fill(`registry.example.com/lockstep:${VERSION}`));
      expect((resultsPod.spec as PodSpec).containers[0]?.image).toBe(images[0]);
    },
  );
});

describe('deploy/docker', () => {
  it('the Dockerfile has no flaw that dockerfile-utils knows', () => {
    expect(validate(readDeployFile('docker/Dockerfile'))).toEqual([]);
  });

  it('the image has no rights of root, and signals reach Node.js itself', () => {
    const [, image = ''] = readDeployFile('docker/Dockerfile').split(/^FROM (?!.* AS )/m);
    expect(image).toMatch(/^USER 1000:1000$/m);
    expect(image).toMatch(/^ENTRYPOINT \["node", "\/opt\/lockstep\/dist\/bin\/lockstep\.js"\]$/m);
  });
});

const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;
const needsSystemd = hasSystemd ? '' : ': needs systemd-analyze';

/** Writes the units with a program that exists here; returns their paths. */
function unitFiles(): string[] {
  const directory = temporaryDirectory();
  return Object.entries({
    'lockstep-coordinator.service': units.coordinator,
    'lockstep-worker@.service': units.worker,
  }).map(([name, text]) => {
    const file = path.join(directory, name);
    fs.writeFileSync(file, text.replace('/usr/local/bin/lockstep', process.execPath));
    return file;
  });
}

function analyze(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('deploy/systemd', () => {
  it.skipIf(!hasSystemd)(`systemd finds no fault in the units${needsSystemd}`, () => {
    const files = unitFiles();
    expect(analyze('verify', ...files)).toEqual({ status: 0, stdout: '', stderr: '' });
    const file = files[0] as string;
    fs.appendFileSync(file, 'WantedByy=multi-user.target\n');
    expect(analyze('verify', file).stderr).toMatch(/Unknown key 'WantedByy' in section \[Install\]/);
  });

  it.skipIf(!hasSystemd)(
    `systemd gives the units an exposure of at most 2 of 10: what Node.js does without is closed${needsSystemd}`,
    () => {
      for (const file of unitFiles()) {
        const { status, stdout, stderr } = analyze('security', '--offline=yes', '--threshold=20', file);
        expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: '' });
      }
    },
  );

  it('a unit that was told to stop has not failed, and one that cannot succeed is not started again', () => {
    const { usage, data, checkpoint, diverged, network, terminated } = EXIT;
    for (const [unit, codes] of [
      [units.coordinator, [usage, data, checkpoint, diverged]],
      [units.worker, [usage, network]],
    ] as const) {
      expect(unitValues(unit, 'Restart')).toEqual(['on-failure']);
      expect(unitValues(unit, 'RestartPreventExitStatus')).toEqual([codes.join(' ')]);
      expect(unitValues(unit, 'SuccessExitStatus')).toEqual([String(terminated)]);
    }
  });
});

const PLACEMENTS: readonly Placement[] = [
  placementOf('deploy/kubernetes/jobs', plainJobs),
  placementOf('deploy/kubernetes/jobset', jobsOfSet),
  {
    name: 'deploy/systemd',
    coordinator: unitCommand(units.coordinator),
    worker: unitCommand(units.worker),
    probes: [],
  },
];

/** The check of a coordinator in a container, as docs/deploy.md has it. */
function healthCommand(port: number): string[] {
  const page = fs.readFileSync(path.join(ROOT, 'docs/deploy.md'), 'utf8');
  const command = /--health-cmd '(.*)'/.exec(page)?.[1];
  expect(command).toContain(':7700/');
  return ['sh', '-c', (command as string).replace(':7700/', `:${port}/`)];
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilAnswered(url: string, command: CliProcess): Promise<void> {
  for (;;) {
    if (command.hasEnded) throw new Error(`ended before it answered ${url}:\n${command.stderr}`);
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.status === 200) return;
    await sleep(50);
  }
}

describe('the commands in deploy/', () => {
  it.each(PLACEMENTS.map((placement) => [placement.name, placement] as const))(
    'the commands in %s train, save when they are told to stop, and go on when they are started again, also after a kill',
    { timeout: 180_000 },
    async (_, { coordinator, worker, probes }) => {
      const cwd = temporaryDirectory();
      const directory = path.join(cwd, 'runs/house');
      const config = path.join(cwd, 'config.yaml');
      const text = readDeployFile('kubernetes/base/config.yaml')
        .replace('/opt/lockstep', ROOT)
        .replace('epochs: 30', 'epochs: 6');
      fs.writeFileSync(config, text);
      fs.writeFileSync(path.join(cwd, 'token'), 'a-token-for-the-tests-of-deploy\n', { mode: 0o600 });
      const port = await freePort();
      const here = (args: readonly string[]): string[] =>
        args.map((arg) =>
          arg
            .replace('0.0.0.0:7700', `127.0.0.1:${port}`)
            .replace(/^ws:\/\/[^/]+:7700$/, `ws://127.0.0.1:${port}`)
            .replace('/etc/lockstep/config.yaml', config)
            .replace(/\/run\/secrets\/lockstep|\$\{CREDENTIALS_DIRECTORY\}/, cwd)
            .replace(/\/runs\/house|\$\{STATE_DIRECTORY\}\/run/, directory),
        );
      const options = { cwd, deadlineMs: 120_000 };
      const workers = [1, 2].map(() => CliProcess.start(here(worker), options));

      const first = CliProcess.start(here(coordinator), options);
      for (const probe of probes) await untilAnswered(`http://127.0.0.1:${port}${probe}`, first);
      await untilEpoch(first, directory, 1);
      const [health = '', ...args] = healthCommand(port);
      expect(spawnSync(health, args).status).toBe(0);
      first.signal('SIGTERM');
      expect((await first.finished).exitCode, first.stderr).toBe(EXIT.terminated);
      expect(spawnSync(health, args).status).toBe(1);

      const killed = CliProcess.start(here(coordinator), options);
      await killed.untilStderr(/resuming after step/);
      killed.signal('SIGKILL');
      await killed.finished;
      // Another container has another name.
      const lock = path.join(directory, 'lock');
      fs.writeFileSync(lock, fs.readFileSync(lock, 'utf8').replace(/"host":"[^"]*"/, '"host":"another"'));
      const second = CliProcess.start(here(coordinator), options);
      // A worker that was not connected at the end goes on waiting, as the next run may be its own.
      const firstWorker = Promise.race(workers.map(({ finished }) => finished));
      for (const finished of [second.finished, firstWorker]) {
        const { exitCode, stderr } = await finished;
        expect(exitCode, stderr).toBe(EXIT.done);
      }
      expect(readEvents(directory)).toEqual(
        expect.arrayContaining(['runStarted', 'runResumed', 'runFinished']),
      );
      const alone = await runCli(['train', config, '--workers', '0', '--json'], options);
      const { weightsSha256 } = JSON.parse(alone.stdout) as { weightsSha256: string };
      expect(readSummary(directory).weightsSha256).toBe(weightsSha256);
    },
  );
});
